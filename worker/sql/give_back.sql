-- SPDX-License-Identifier: Apache-2.0
-- Gives leased jobs back to the queue, with the attempts made so far: at once (run_at NULL) or parked until a time. Only where the
-- lease still carries the token. Returns per job whether it was done now; a job that is not there was given back by an earlier
-- sending, or its lease was lost: to the worker both mean that it is not its job any more.
-- One whose cancel was asked for ends canceled instead: the mark on its lease would be lost.
-- $1 bucket $2 job $3 token $4 attempts $5 interruptions $6 delay in ms (NULL: at once) $7 reason
-- attempts not yet written: $8 … $31 as $27 … $50 of record.
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
), made as materialized (
	select a.*, g.tenant_id
	from unnest($8::int4[], $9::uuid[], $10::int8[], $11::int2[], $12::text[], $13::timestamptz[], $14::int4[], $15::int4[], $16::int2[], $17::text[],
		$18::text[], $19::int8[], $20::int8[], $21::int8[], $22::int8[], $23::int8[], $24::int8[], $25::int8[], $26::int2[], $27::text[],
		$28::int8[], $29::int8[], $30::int8[], $31::text[])
		as a(bucket, job_id, token, number, target, started_at, first_token_ms, total_ms, http_status, code, message, input_tokens,
			cached_input_tokens, output_tokens, cost_nanousd, price_input, price_cached_input, price_output, flags, next, cache_write_tokens,
			reasoning_tokens, price_cache_write, choice)
	join gone g on g.bucket = a.bucket and g.job_id = a.job_id and g.token = a.token
), tries as (
	insert into attempt (bucket, job_id, token, tenant_id, number, target, started_at, first_token_ms, total_ms, http_status, code, message,
		input_tokens, cached_input_tokens, output_tokens, cost_nanousd, price_input, price_cached_input, price_output, flags, next, cache_write_tokens,
		reasoning_tokens, price_cache_write, choice)
	select bucket, job_id, token, tenant_id, number, target, started_at, first_token_ms, total_ms, http_status, code, message, input_tokens,
		cached_input_tokens, output_tokens, cost_nanousd, price_input, price_cached_input, price_output, flags, next, cache_write_tokens,
		reasoning_tokens, price_cache_write, choice
	from made
), over as materialized (
	select g.*, j.batch_id, j.webhook_url from gone g join job j on j.bucket = g.bucket and j.id = g.job_id where g.cancel_requested
), spent as materialized (
	-- What its leases used, this one's unwritten attempts included. Its batch counted the part that an outcome before a retry had; what is fresh it has not.
	select o.bucket, o.job_id, s.*
	from over o cross join lateral (
		select sum(a.input_tokens) as input_tokens, sum(a.cached_input_tokens) as cached_input_tokens, sum(a.output_tokens) as output_tokens,
			sum(a.cache_write_tokens) as cache_write_tokens, sum(a.reasoning_tokens) as reasoning_tokens, sum(a.cost_nanousd) as known_nanousd,
			bool_or(a.cost_nanousd is null) as is_unknown, sum(a.input_tokens) filter (where a.fresh) as fresh_input,
			sum(a.cached_input_tokens) filter (where a.fresh) as fresh_cached, sum(a.output_tokens) filter (where a.fresh) as fresh_output,
			sum(a.reasoning_tokens) filter (where a.fresh) as fresh_reasoning, sum(a.cost_nanousd) filter (where a.fresh) as fresh_nanousd,
			bool_or(a.cost_nanousd is null) filter (where a.fresh) as fresh_unknown,
			bool_or(a.cost_nanousd is null) filter (where not a.fresh) as old_unknown
		from (select t.input_tokens, t.cached_input_tokens, t.output_tokens, t.cache_write_tokens, t.reasoning_tokens, t.cost_nanousd, t.token > coalesce((
				select max(l.token) from outcome l where l.bucket = o.bucket and l.job_id = o.job_id and l.token < o.token), 0) as fresh
			from attempt t where t.bucket = o.bucket and t.job_id = o.job_id and t.token <= o.token
			union all
			select m.input_tokens, m.cached_input_tokens, m.output_tokens, m.cache_write_tokens, m.reasoning_tokens, m.cost_nanousd, true
			from made m where m.bucket = o.bucket and m.job_id = o.job_id) a
	) s
), outcomes as (
	insert into outcome (bucket, job_id, token, tenant_id, started_at, status, attempts, interruptions, error_code, error_message, input_tokens,
		cached_input_tokens, output_tokens, cost_nanousd, cache_write_tokens, reasoning_tokens)
	select o.bucket, o.job_id, o.token, o.tenant_id, o.claimed_at, 5, o.attempts, o.interruptions, 'canceled', 'canceled while it ran',
		coalesce(s.input_tokens, 0), coalesce(s.cached_input_tokens, 0), coalesce(s.output_tokens, 0),
		case when s.is_unknown is not true then coalesce(s.known_nanousd, 0) end, coalesce(s.cache_write_tokens, 0), coalesce(s.reasoning_tokens, 0)
	from over o join spent s on s.bucket = o.bucket and s.job_id = o.job_id
), counts as (
	insert into batch_delta (bucket, batch_id, canceled, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, cost_nanousd, cost_unknown)
	select o.bucket, o.batch_id, count(*), coalesce(sum(s.fresh_input), 0), coalesce(sum(s.fresh_cached), 0), coalesce(sum(s.fresh_output), 0),
		coalesce(sum(s.fresh_reasoning), 0), coalesce(sum(s.fresh_nanousd), 0), count(*) filter (where s.fresh_unknown and s.old_unknown is not true)
	from over o join spent s on s.bucket = o.bucket and s.job_id = o.job_id
	where o.batch_id is not null group by o.bucket, o.batch_id
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, job_id, event, url)
	select bucket, millrace_id(bucket), tenant_id, job_id, 'job.canceled', webhook_url from over where webhook_url is not null
)
select bucket, job_id, token from gone
