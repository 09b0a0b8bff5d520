-- SPDX-License-Identifier: Apache-2.0
-- Cancels up to $3 jobs of a batch that is canceling: waiting ones end, running ones are marked. $1 bucket $2 batch. Returns how many
-- waiting ones ended now; the caller repeats until there are none left.
with r as (
	delete from ready where (bucket, job_id) in (
		select r.bucket, r.job_id from job j join ready r on r.bucket = j.bucket and r.job_id = j.id
		where j.batch_id = $2::uuid and j.bucket = $1::int4 limit $3::int4 for update of r skip locked)
	returning bucket, job_id, token, tenant_id, attempts, interruptions
), p as (
	delete from parked where (bucket, job_id) in (
		select p.bucket, p.job_id from job j join parked p on p.bucket = j.bucket and p.job_id = j.id
		where j.batch_id = $2::uuid and j.bucket = $1::int4 limit $3::int4 for update of p skip locked)
	returning bucket, job_id, token, tenant_id, attempts, interruptions
), l as (
	update lease set cancel_requested = true
	where not cancel_requested and (bucket, job_id) in (
		select l.bucket, l.job_id from lease l join job j on j.bucket = l.bucket and j.id = l.job_id where j.batch_id = $2::uuid and j.bucket = $1::int4)
	returning worker_id
), over as materialized (
	select w.*, j.webhook_url
	from (select * from r union all select * from p) w join job j on j.bucket = w.bucket and j.id = w.job_id
), outcomes as (
	insert into outcome (bucket, job_id, token, tenant_id, status, attempts, interruptions, error_code, error_message, input_tokens,
		cached_input_tokens, output_tokens, cost_nanousd)
	select o.bucket, o.job_id, o.token + 1, o.tenant_id, 5, o.attempts, o.interruptions, 'canceled', 'canceled with its batch', coalesce(spent.input_tokens, 0),
		coalesce(spent.cached_input_tokens, 0), coalesce(spent.output_tokens, 0), case when spent.calls > 0 then spent.cost_nanousd else 0 end
	from over o
	left join lateral (
		select sum(a.input_tokens) as input_tokens, sum(a.cached_input_tokens) as cached_input_tokens, sum(a.output_tokens) as output_tokens,
			case when bool_and(a.cost_nanousd is not null) then sum(a.cost_nanousd) end as cost_nanousd, count(*) as calls
		from attempt a where o.token > 0 and a.bucket = o.bucket and a.job_id = o.job_id and a.token <= o.token
	) spent on true
), counts as (
	insert into batch_delta (bucket, batch_id, canceled) select $1::int4, $2::uuid, count(*) from over having count(*) > 0
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, job_id, event, url)
	select bucket, millrace_id(bucket), tenant_id, job_id, 'job.canceled', webhook_url from over where webhook_url is not null
)
select (select count(*) from over) as waiting, (select count(*) from l) as running
