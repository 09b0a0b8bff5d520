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
), over as (
	select w.*, j.batch_id, j.webhook_url
	from (select * from r union all select * from p) w
	join job j on j.bucket = w.bucket and j.id = w.job_id
), outcomes as (
	insert into outcome (bucket, job_id, token, tenant_id, status, attempts, interruptions, error_code, error_message, input_tokens,
		cached_input_tokens, output_tokens, cost_nanousd)
	select o.bucket, o.job_id, o.token + 1, o.tenant_id, 5, o.attempts, o.interruptions, 'canceled', 'canceled while it waited', coalesce(spent.input_tokens, 0),
		coalesce(spent.cached_input_tokens, 0), coalesce(spent.output_tokens, 0), case when spent.calls > 0 then spent.cost_nanousd else 0 end
	from over o
	left join lateral (
		select sum(a.input_tokens) as input_tokens, sum(a.cached_input_tokens) as cached_input_tokens, sum(a.output_tokens) as output_tokens,
			case when bool_and(a.cost_nanousd is not null) then sum(a.cost_nanousd) end as cost_nanousd, count(*) as calls
		from attempt a where o.token > 0 and a.bucket = o.bucket and a.job_id = o.job_id and a.token <= o.token
	) spent on true
), counts as (
	insert into batch_delta (bucket, batch_id, canceled) select bucket, batch_id, 1 from over where batch_id is not null
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, job_id, event, url)
	select bucket, millrace_id(bucket), tenant_id, job_id, 'job.canceled', webhook_url from over where webhook_url is not null
)
select 5::int2 as status, null::uuid as worker_id from over
union all
select 2::int2, worker_id from l
