-- SPDX-License-Identifier: Apache-2.0
-- Adds what outcomes did to batches ($1 rows at most) to the batches' counts; the one statement that brings a batch to its end also
-- writes its webhook delivery, except for one that came as a file: its end is that its output is there (api/sql/batch_output_finish).
-- Two at the same time take different rows, and the second waits for the first's count.
with d as (
	delete from batch_delta where ctid = any (array(select ctid from batch_delta limit $1::int4 for update skip locked))
	returning *
), sums as (
	select bucket, batch_id, sum(succeeded) as succeeded, sum(failed) as failed, sum(canceled) as canceled, sum(expired) as expired,
		sum(input_tokens) as input_tokens, sum(cached_input_tokens) as cached_input_tokens, sum(output_tokens) as output_tokens,
		sum(reasoning_tokens) as reasoning_tokens, sum(cost_nanousd) as cost_nanousd, sum(cost_unknown) as cost_unknown
	from d group by bucket, batch_id order by bucket, batch_id
), folded as (
	update batch b set succeeded = b.succeeded + s.succeeded, failed = b.failed + s.failed, canceled = b.canceled + s.canceled, expired = b.expired + s.expired,
		input_tokens = b.input_tokens + s.input_tokens, cached_input_tokens = b.cached_input_tokens + s.cached_input_tokens,
		output_tokens = b.output_tokens + s.output_tokens, reasoning_tokens = b.reasoning_tokens + s.reasoning_tokens,
		cost_nanousd = b.cost_nanousd + s.cost_nanousd, cost_unknown = b.cost_unknown + s.cost_unknown,
		finished_at = case when b.succeeded + s.succeeded + b.failed + s.failed + b.canceled + s.canceled + b.expired + s.expired >= b.total
			then coalesce(b.finished_at, now()) end
	from sums s where b.bucket = s.bucket and b.id = s.batch_id
	returning b.bucket, b.id, b.tenant_id, b.webhook_url, b.finished_at, b.canceled, b.cancel_requested_at, b.form
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, batch_id, event, url)
	select bucket, millrace_id(bucket), tenant_id, id, case when cancel_requested_at is not null and canceled > 0 then 'batch.cancelled' else 'batch.completed' end,
		webhook_url
	from folded where webhook_url is not null and finished_at = now() and form <> 1
)
select count(*), count(*) filter (where finished_at is not null) from folded
