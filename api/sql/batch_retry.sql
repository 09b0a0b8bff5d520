-- SPDX-License-Identifier: Apache-2.0
-- A new attempt series for the jobs of a batch that ended without success, among the $5 that follow line $4: as retry.sql, for many. The
-- batch is open again, and no longer canceled. $1 bucket $2 batch $3 tenant $6 deadline in ms.
-- Returns the last line looked at (NULL: there was none, all is done) and how many jobs went back into the queue.
with part as materialized (
	select j.bucket, j.id, j.tenant_id, j.lane, j.priority, j.batch_index from job j
	where j.bucket = $1::int4 and j.batch_id = $2::uuid and j.tenant_id = $3::int8 and j.batch_index > $4::int4
	order by j.batch_index limit $5::int4
), last as (
	select p.*, o.token, o.status from part p cross join lateral (
		select o.token, o.status from outcome o where o.bucket = p.bucket and o.job_id = p.id order by o.token desc limit 1) o
	where o.status in (4, 5, 6) and exists (select 1 from payload y where y.bucket = p.bucket and y.job_id = p.id)
), won as (
	insert into retry (bucket, job_id, token)
	select bucket, id, token from last order by bucket, id
	on conflict (bucket, job_id, token) do nothing
	returning bucket, job_id, token
), back as (
	insert into ready (pass, tenant_id, token, expires_at, bucket, lane, job_id, priority)
	select coalesce(f.floor, 0), l.tenant_id, w.token, now() + $6::int8 * interval '1 millisecond', l.bucket, l.lane, l.id, l.priority
	from won w join last l on l.bucket = w.bucket and l.id = w.job_id
	left join lane_floor f on f.lane = l.lane and f.priority = l.priority
	returning job_id, lane, priority
), counts as (
	insert into batch_delta (bucket, batch_id, failed, canceled, expired)
	select $1::int4, $2::uuid, -count(*) filter (where l.status = 4), -count(*) filter (where l.status = 5), -count(*) filter (where l.status = 6)
	from back b join last l on l.id = b.job_id having count(*) > 0
), reopened as (
	update batch set finished_at = null, cancel_requested_at = null
	where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8 and exists (select 1 from back)
)
select (select max(batch_index) from part) as last_index, (select count(*) from back)::int4 as retried,
	(select min(lane) from back) as lane, (select min(priority) from back) as priority
