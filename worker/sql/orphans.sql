-- SPDX-License-Identifier: Apache-2.0
-- Cancels what clients of an api process waited for that is gone: nobody can have those answers any more. One such process and the next $1 buckets at a
-- time. A job that waits ends here, one that runs is marked for its worker; one that was retried by somebody since is that one's. What another statement holds
-- just now is left for the next time, and the place in api_process moves on only when nothing was.
-- Returns how many were found, waited and ended, and run; no row when there is no such process.
with gone as materialized (
	select id, swept from api_process where state in (2, 3) and swept < 1024 order by id limit 1 for update skip locked
), found as materialized (
	select q.bucket, q.job_id
	from gone g cross join lateral (
		select bucket, job_id from ready where bucket between g.swept and g.swept + $1::int4 - 1
		union all
		select bucket, job_id from parked where bucket between g.swept and g.swept + $1::int4 - 1
		union all
		select bucket, job_id from lease where bucket between g.swept and g.swept + $1::int4 - 1 and not cancel_requested
		offset 0
	) q
	cross join lateral (select awaited_by from job where bucket = q.bucket and id = q.job_id offset 0) j
	where j.awaited_by = g.id and not exists (select 1 from outcome o where o.bucket = q.bucket and o.job_id = q.job_id)
), r as (
	delete from ready where ctid = any (array(
		select t.ctid from found f join ready t on t.bucket = f.bucket and t.job_id = f.job_id order by t.bucket, t.job_id for update of t skip locked))
	returning bucket, job_id, token, tenant_id, attempts, interruptions
), p as (
	delete from parked where ctid = any (array(
		select t.ctid from found f join parked t on t.bucket = f.bucket and t.job_id = f.job_id order by t.bucket, t.job_id for update of t skip locked))
	returning bucket, job_id, token, tenant_id, attempts, interruptions
), l as (
	update lease set cancel_requested = true where ctid = any (array(
		select t.ctid from found f join lease t on t.bucket = f.bucket and t.job_id = f.job_id order by t.bucket, t.job_id for update of t skip locked))
	returning worker_id
), over as materialized (
	select w.*, j.webhook_url
	from (select * from r union all select * from p) w
	join job j on j.bucket = w.bucket and j.id = w.job_id
), spent as materialized (
	-- What its leases used.
	select o.bucket, o.job_id, s.*
	from over o cross join lateral (
		select sum(a.input_tokens) as input_tokens, sum(a.cached_input_tokens) as cached_input_tokens, sum(a.output_tokens) as output_tokens,
			sum(a.cache_write_tokens) as cache_write_tokens, sum(a.reasoning_tokens) as reasoning_tokens, sum(a.cost_nanousd) as known_nanousd,
			bool_or(a.cost_nanousd is null) as is_unknown
		from attempt a where a.bucket = o.bucket and a.job_id = o.job_id and a.token <= o.token
	) s where o.token > 0
), outcomes as (
	insert into outcome (bucket, job_id, token, tenant_id, status, attempts, interruptions, error_code, error_message, input_tokens,
		cached_input_tokens, output_tokens, cost_nanousd, cache_write_tokens, reasoning_tokens)
	select o.bucket, o.job_id, o.token + 1, o.tenant_id, 5, o.attempts, o.interruptions, 'canceled', 'the process that its client waited at is gone',
		coalesce(s.input_tokens, 0), coalesce(s.cached_input_tokens, 0), coalesce(s.output_tokens, 0),
		case when s.is_unknown is not true then coalesce(s.known_nanousd, 0) end, coalesce(s.cache_write_tokens, 0), coalesce(s.reasoning_tokens, 0)
	from over o left join spent s on s.bucket = o.bucket and s.job_id = o.job_id
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, job_id, event, url)
	select bucket, millrace_id(bucket), tenant_id, job_id, 'job.canceled', webhook_url from over where webhook_url is not null
), counted as materialized (
	select (select count(*) from found) as found, (select count(*) from over) as ended, (select count(*) from l) as running
), moved as (
	update api_process a set swept = least(1024, g.swept + $1::int4) from gone g, counted c
	where a.id = g.id and c.found = c.ended + c.running
)
select c.found, c.ended, c.running from counted c, gone
