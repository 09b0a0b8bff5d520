-- SPDX-License-Identifier: Apache-2.0
-- Cancels one job: a waiting one ends here, a running one is marked for its worker. No row: it was neither waiting nor running when this
-- statement looked (ended, or between two tables: the caller reads it and may ask again). $1 bucket $2 id $3 tenant.
with r as (
	delete from ready where bucket = $1::int4 and job_id = $2::uuid and tenant_id = $3::int8
	returning bucket, job_id, token, tenant_id, attempts, interruptions
), p as (
	delete from parked where bucket = $1::int4 and job_id = $2::uuid and tenant_id = $3::int8
	returning bucket, job_id, token, tenant_id, attempts, interruptions
), l as (
	update lease set cancel_requested = true where bucket = $1::int4 and job_id = $2::uuid and tenant_id = $3::int8
	returning worker_id
), over as materialized (
	select w.*, j.batch_id, j.webhook_url
	from (select * from r union all select * from p) w
	join job j on j.bucket = w.bucket and j.id = w.job_id
), spent as materialized (
	-- What its leases used. Its batch counted the part that an outcome before a retry had; what is fresh it has not.
	select o.bucket, o.job_id, s.*
	from over o cross join lateral (
		select sum(a.input_tokens) as input_tokens, sum(a.cached_input_tokens) as cached_input_tokens, sum(a.output_tokens) as output_tokens,
			sum(a.cache_write_tokens) as cache_write_tokens, sum(a.reasoning_tokens) as reasoning_tokens, sum(a.cost_nanousd) as known_nanousd,
			bool_or(a.cost_nanousd is null) as is_unknown, sum(a.input_tokens) filter (where a.fresh) as fresh_input,
			sum(a.cached_input_tokens) filter (where a.fresh) as fresh_cached, sum(a.output_tokens) filter (where a.fresh) as fresh_output,
			sum(a.reasoning_tokens) filter (where a.fresh) as fresh_reasoning, sum(a.cost_nanousd) filter (where a.fresh) as fresh_nanousd,
			bool_or(a.cost_nanousd is null) filter (where a.fresh) as fresh_unknown,
			bool_or(a.cost_nanousd is null) filter (where not a.fresh) as old_unknown
		from (select t.*, t.token > coalesce((
				select max(l.token) from outcome l where l.bucket = o.bucket and l.job_id = o.job_id and l.token <= o.token), 0) as fresh
			from attempt t where t.bucket = o.bucket and t.job_id = o.job_id and t.token <= o.token) a
	) s where o.token > 0
), outcomes as (
	insert into outcome (bucket, job_id, token, tenant_id, status, attempts, interruptions, error_code, error_message, input_tokens,
		cached_input_tokens, output_tokens, cost_nanousd, cache_write_tokens, reasoning_tokens)
	select o.bucket, o.job_id, o.token + 1, o.tenant_id, 5, o.attempts, o.interruptions, 'canceled', 'canceled while it waited', coalesce(s.input_tokens, 0),
		coalesce(s.cached_input_tokens, 0), coalesce(s.output_tokens, 0), case when s.is_unknown is not true then coalesce(s.known_nanousd, 0) end,
		coalesce(s.cache_write_tokens, 0), coalesce(s.reasoning_tokens, 0)
	from over o left join spent s on s.bucket = o.bucket and s.job_id = o.job_id
), counts as (
	insert into batch_delta (bucket, batch_id, canceled, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, cost_nanousd, cost_unknown)
	select o.bucket, o.batch_id, count(*), coalesce(sum(s.fresh_input), 0), coalesce(sum(s.fresh_cached), 0), coalesce(sum(s.fresh_output), 0),
		coalesce(sum(s.fresh_reasoning), 0), coalesce(sum(s.fresh_nanousd), 0), count(*) filter (where s.fresh_unknown and s.old_unknown is not true)
	from over o left join spent s on s.bucket = o.bucket and s.job_id = o.job_id
	where o.batch_id is not null group by o.bucket, o.batch_id
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, job_id, event, url)
	select bucket, millrace_id(bucket), tenant_id, job_id, 'job.canceled', webhook_url from over where webhook_url is not null
)
select 5::int2 as status, null::uuid as worker_id from over
union all
select 2::int2, worker_id from l
