-- SPDX-License-Identifier: Apache-2.0
-- Gives leased jobs back to the queue, with the attempts made so far: at once (run_at NULL) or parked until a time. Only where the
-- lease still carries the token. Returns per job whether it was done now; a job that is not there was given back by an earlier
-- sending, or its lease was lost: to the worker both mean that it is not its job any more.
-- One whose cancel was asked for ends canceled instead: the mark on its lease would be lost.
-- $1 bucket $2 job $3 token $4 attempts $5 interruptions $6 delay in ms (NULL: at once) $7 reason
-- attempts not yet written: $8 … $31 as $26 … $49 of record.
with input as materialized (
	select * from unnest($1::int4[], $2::uuid[], $3::int8[], $4::int2[], $5::int2[], $6::int8[], $7::int2[])
		as n(bucket, job_id, token, attempts, interruptions, delay_ms, reason)
), gone as (
	delete from lease l using input n
	where l.bucket = n.bucket and l.job_id = n.job_id and l.token = n.token
	returning l.pass, l.tenant_id, l.token, l.expires_at, l.bucket, l.lane, l.job_id, l.priority, n.attempts, n.interruptions, n.delay_ms, n.reason,
		l.cancel_requested, l.claimed_at
), back as (
	insert into ready (pass, tenant_id, token, expires_at, bucket, lane, job_id, priority, attempts, interruptions)
	select greatest(g.pass, coalesce(f.floor, 0)), g.tenant_id, g.token, g.expires_at, g.bucket, g.lane, g.job_id, g.priority, g.attempts, g.interruptions
	from gone g left join lane_floor f on f.lane = g.lane and f.priority = g.priority
	where g.delay_ms is null and not g.cancel_requested
), later as (
	insert into parked (pass, tenant_id, token, expires_at, run_at, bucket, lane, job_id, priority, attempts, interruptions, reason)
	select g.pass, g.tenant_id, g.token, g.expires_at, now() + g.delay_ms * interval '1 millisecond', g.bucket, g.lane, g.job_id, g.priority,
		g.attempts, g.interruptions, g.reason
	from gone g
	where g.delay_ms is not null and not g.cancel_requested
), tries as (
	insert into attempt (bucket, job_id, token, tenant_id, number, target, started_at, first_token_ms, total_ms, http_status, code, message,
		input_tokens, cached_input_tokens, output_tokens, cost_nanousd, price_input, price_cached_input, price_output, flags, next, cache_write_tokens,
		reasoning_tokens, price_cache_write, choice)
	select a.bucket, a.job_id, a.token, g.tenant_id, a.number, a.target, a.started_at, a.first_token_ms, a.total_ms, a.http_status, a.code, a.message,
		a.input_tokens, a.cached_input_tokens, a.output_tokens, a.cost_nanousd, a.price_input, a.price_cached_input, a.price_output, a.flags, a.next,
		a.cache_write_tokens, a.reasoning_tokens, a.price_cache_write, a.choice
	from unnest($8::int4[], $9::uuid[], $10::int8[], $11::int2[], $12::text[], $13::timestamptz[], $14::int4[], $15::int4[], $16::int2[], $17::text[],
		$18::text[], $19::int8[], $20::int8[], $21::int8[], $22::int8[], $23::int8[], $24::int8[], $25::int8[], $26::int2[], $27::text[],
		$28::int8[], $29::int8[], $30::int8[], $31::text[])
		as a(bucket, job_id, token, number, target, started_at, first_token_ms, total_ms, http_status, code, message, input_tokens,
			cached_input_tokens, output_tokens, cost_nanousd, price_input, price_cached_input, price_output, flags, next, cache_write_tokens,
			reasoning_tokens, price_cache_write, choice)
	join gone g on g.bucket = a.bucket and g.job_id = a.job_id and g.token = a.token
), over as (
	select g.*, j.batch_id, j.webhook_url from gone g join job j on j.bucket = g.bucket and j.id = g.job_id where g.cancel_requested
), outcomes as (
	insert into outcome (bucket, job_id, token, tenant_id, started_at, status, attempts, interruptions, error_code, error_message)
	select bucket, job_id, token, tenant_id, claimed_at, 5, attempts, interruptions, 'canceled', 'canceled while it ran' from over
), counts as (
	insert into batch_delta (bucket, batch_id, canceled)
	select bucket, batch_id, count(*) from over where batch_id is not null group by bucket, batch_id
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, job_id, event, url)
	select bucket, millrace_id(bucket), tenant_id, job_id, 'job.canceled', webhook_url from over where webhook_url is not null
)
select bucket, job_id, token from gone
