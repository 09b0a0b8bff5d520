-- SPDX-License-Identifier: Apache-2.0
-- A page of a tenant's batches over all buckets, newest first, with the columns of batch_get. $1 tenant $2 after this id (or NULL) $3 limit.
select b.id, b.total, b.errors, b.error_count, b.created_at, b.finished_at, b.cancel_requested_at, b.webhook_url,
	(b.succeeded + d.succeeded)::int4 as succeeded, (b.failed + d.failed)::int4 as failed, (b.canceled + d.canceled)::int4 as canceled,
	(b.expired + d.expired)::int4 as expired, now() as read_at,
	(select count(*) from lease l join job j on j.bucket = l.bucket and j.id = l.job_id
		where l.bucket = b.bucket and l.tenant_id = b.tenant_id and j.batch_id = b.id)::int4 as running, b.form,
	(b.input_tokens + d.input_tokens)::int8 as input_tokens, (b.cached_input_tokens + d.cached_input_tokens)::int8 as cached_input_tokens,
	(b.output_tokens + d.output_tokens)::int8 as output_tokens, (b.reasoning_tokens + d.reasoning_tokens)::int8 as reasoning_tokens,
	(b.cost_nanousd + d.cost_nanousd)::int8 as cost_nanousd, (b.cost_unknown + d.cost_unknown)::int4 as cost_unknown,
	f.stage, f.endpoint, f.input_file_id, f.completion_window, f.metadata, f.model, f.priority, f.dry_run, f.max_cost_nanousd, f.estimate_nanousd,
	f.estimate_input_tokens, f.capped, f.loaded, f.in_progress_at, f.finalizing_at, f.ended_at, f.ending, f.expires_at, f.output_file_id, f.error_file_id
from batch b left join batch_file f on f.bucket = b.bucket and f.id = b.id
cross join lateral (
	select coalesce(sum(succeeded), 0) as succeeded, coalesce(sum(failed), 0) as failed, coalesce(sum(canceled), 0) as canceled,
		coalesce(sum(expired), 0) as expired, coalesce(sum(input_tokens), 0) as input_tokens, coalesce(sum(cached_input_tokens), 0) as cached_input_tokens,
		coalesce(sum(output_tokens), 0) as output_tokens, coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
		coalesce(sum(cost_nanousd), 0) as cost_nanousd, coalesce(sum(cost_unknown), 0) as cost_unknown
	from batch_delta where bucket = b.bucket and batch_id = b.id
) d
where b.tenant_id = $1::int8 and b.id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by b.id desc
limit $3::int4
