-- SPDX-License-Identifier: Apache-2.0
-- Ends waiting jobs whose deadline has passed, at most $1 from each table: of the queue those in buckets $2 to $3, by the primary key (an
-- index on the deadline would cost every accepted job more than these looks do). Returns how many.
with r as (
	delete from ready where ctid = any (array(
		select ctid from ready where bucket between $2::int4 and $3::int4 and expires_at <= now() limit $1::int4 for update skip locked))
	returning bucket, job_id, token, tenant_id, attempts, interruptions
), p as (
	delete from parked where ctid = any (array(
		select ctid from parked where expires_at <= now() order by expires_at limit $1::int4 for update skip locked))
	returning bucket, job_id, token, tenant_id, attempts, interruptions
), over as materialized (
	select w.*, j.batch_id, j.webhook_url
	from (select * from r union all select * from p) w
	join job j on j.bucket = w.bucket and j.id = w.job_id
), outcomes as (
	insert into outcome (bucket, job_id, token, tenant_id, status, attempts, interruptions, error_code, error_message, input_tokens,
		cached_input_tokens, output_tokens, cost_nanousd)
	select o.bucket, o.job_id, o.token + 1, o.tenant_id, 6, o.attempts, o.interruptions, 'expired', 'the deadline passed while the job waited', coalesce(spent.input_tokens, 0),
		coalesce(spent.cached_input_tokens, 0), coalesce(spent.output_tokens, 0), case when spent.calls > 0 then spent.cost_nanousd else 0 end
	from over o
	left join lateral (
		select sum(a.input_tokens) as input_tokens, sum(a.cached_input_tokens) as cached_input_tokens, sum(a.output_tokens) as output_tokens,
			case when bool_and(a.cost_nanousd is not null) then sum(a.cost_nanousd) end as cost_nanousd, count(*) as calls
		from attempt a where o.token > 0 and a.bucket = o.bucket and a.job_id = o.job_id and a.token <= o.token
	) spent on true
), counts as (
	insert into batch_delta (bucket, batch_id, expired)
	select bucket, batch_id, count(*) from over where batch_id is not null group by bucket, batch_id
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, job_id, event, url)
	select bucket, millrace_id(bucket), tenant_id, job_id, 'job.expired', webhook_url from over where webhook_url is not null
)
select count(*) from over
