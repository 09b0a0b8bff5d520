-- SPDX-License-Identifier: Apache-2.0
-- Takes back the jobs of workers that have been silent for the lease time ($1 ms), and declares those workers dead, or that are gone; at most $2 jobs.
-- Each goes back to the queue with one interruption more, or ends: canceled when that was asked for, failed (poison) after $3
-- interruptions, expired past its deadline. The interrupted call's cost is unknown, and is recorded as an attempt of unknown cost.
-- Returns lane and priority of what went back, and how each ended (status 1: back).
with dead as materialized (
	update worker set state = case when state = 2 then state else 3 end
	where id = any (array(select id from worker where (state in (0, 1) and beat_at < now() - $1::int8 * interval '1 millisecond')
		or (state in (2, 3) and exists (select 1 from lease l where l.worker_id = worker.id)) order by id for update skip locked))
	returning id
), lost as (
	delete from lease where ctid = any (array(
		select l.ctid from lease l join dead d on d.id = l.worker_id limit $2::int4 for update of l skip locked))
	returning *
), judged as materialized (
	select l.*, j.batch_id, j.webhook_url, l.interruptions + 1 as interrupted,
		case when l.cancel_requested then 5 when l.expires_at <= now() then 6 when l.interruptions + 1 >= $3::int4 then 4 else 1 end as status
	from lost l join job j on j.bucket = l.bucket and j.id = l.job_id
), back as (
	insert into ready (pass, tenant_id, token, expires_at, bucket, lane, job_id, priority, attempts, interruptions)
	select greatest(g.pass, coalesce(f.floor, 0)), g.tenant_id, g.token, g.expires_at, g.bucket, g.lane, g.job_id, g.priority, g.attempts, g.interrupted
	from judged g left join lane_floor f on f.lane = g.lane and f.priority = g.priority
	where g.status = 1
), tries as (
	insert into attempt (bucket, job_id, token, tenant_id, number, target, started_at, code, message, next)
	select bucket, job_id, token, tenant_id, 0, '', claimed_at, 'interrupted', 'the worker vanished; what its call cost is unknown',
		case status when 1 then 'back to the queue' else 'ended' end
	from judged
	on conflict (bucket, job_id, token, number) do nothing
), spent as materialized (
	-- What its leases used as far as it is known. Its batch counted the part that an outcome before a retry had; what is fresh it has not.
	select o.bucket, o.job_id, s.*
	from judged o cross join lateral (
		select sum(a.input_tokens) as input_tokens, sum(a.cached_input_tokens) as cached_input_tokens, sum(a.output_tokens) as output_tokens,
			sum(a.cache_write_tokens) as cache_write_tokens, sum(a.reasoning_tokens) as reasoning_tokens,
			sum(a.input_tokens) filter (where a.fresh) as fresh_input, sum(a.cached_input_tokens) filter (where a.fresh) as fresh_cached,
			sum(a.output_tokens) filter (where a.fresh) as fresh_output, sum(a.reasoning_tokens) filter (where a.fresh) as fresh_reasoning,
			sum(a.cost_nanousd) filter (where a.fresh) as fresh_nanousd,
			bool_or(a.cost_nanousd is null) filter (where not a.fresh) as old_unknown
		from (select t.*, t.token > coalesce((
				select max(l.token) from outcome l where l.bucket = o.bucket and l.job_id = o.job_id and l.token < o.token), 0) as fresh
			from attempt t where t.bucket = o.bucket and t.job_id = o.job_id and t.token <= o.token) a
	) s where o.status <> 1
), outcomes as (
	insert into outcome (bucket, job_id, token, tenant_id, started_at, status, attempts, interruptions, error_code, error_message, input_tokens,
		cached_input_tokens, output_tokens, cache_write_tokens, reasoning_tokens)
	select o.bucket, o.job_id, o.token, o.tenant_id, o.claimed_at, o.status, o.attempts, o.interrupted,
		case o.status when 5 then 'canceled' when 6 then 'expired' else 'poison' end,
		case o.status when 5 then 'canceled while it ran' when 6 then 'the deadline passed'
			else 'interrupted ' || o.interrupted || ' times: workers vanished while they ran it' end,
		coalesce(s.input_tokens, 0), coalesce(s.cached_input_tokens, 0), coalesce(s.output_tokens, 0), coalesce(s.cache_write_tokens, 0),
		coalesce(s.reasoning_tokens, 0)
	from judged o join spent s on s.bucket = o.bucket and s.job_id = o.job_id
), counts as (
	insert into batch_delta (bucket, batch_id, failed, canceled, expired, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens,
		cost_nanousd, cost_unknown)
	select o.bucket, o.batch_id, count(*) filter (where o.status = 4), count(*) filter (where o.status = 5), count(*) filter (where o.status = 6),
		coalesce(sum(s.fresh_input), 0), coalesce(sum(s.fresh_cached), 0), coalesce(sum(s.fresh_output), 0), coalesce(sum(s.fresh_reasoning), 0),
		coalesce(sum(s.fresh_nanousd), 0), count(*) filter (where s.old_unknown is not true)
	from judged o join spent s on s.bucket = o.bucket and s.job_id = o.job_id
	where o.batch_id is not null
	group by o.bucket, o.batch_id
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, job_id, event, url)
	select bucket, millrace_id(bucket), tenant_id, job_id,
		case status when 5 then 'job.canceled' when 6 then 'job.expired' else 'job.failed' end, webhook_url
	from judged where webhook_url is not null and status <> 1
)
select lane, priority, status, bucket, job_id from judged
