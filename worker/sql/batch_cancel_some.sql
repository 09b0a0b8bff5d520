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
	insert into outcome (bucket, job_id, token, tenant_id, status, attempts, interruptions, error_code, error_message)
	select bucket, job_id, token + 1, tenant_id, 5, attempts, interruptions, 'canceled', 'canceled with its batch' from over
), counts as (
	insert into batch_delta (bucket, batch_id, canceled) select $1::int4, $2::uuid, count(*) from over having count(*) > 0
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, job_id, event, url)
	select bucket, millrace_id(bucket), tenant_id, job_id, 'job.canceled', webhook_url from over where webhook_url is not null
)
select (select count(*) from over) as waiting, (select count(*) from l) as running
