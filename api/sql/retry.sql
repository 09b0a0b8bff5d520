-- SPDX-License-Identifier: Apache-2.0
-- A new attempt series for one ended job that did not succeed: back into the queue with a new deadline. The primary key of retry lets only one of
-- several through per outcome. Its batch is open again, as in batch_retry; where that has a cost cap, only batch_retry may do it, which keeps the cap.
-- $1 bucket $2 id $3 tenant $4 deadline in ms. No row: it is not in a state to be retried, or has just been, or its request was erased.
with last as (
	select o.bucket, o.job_id, o.token, o.status from outcome o
	where o.bucket = $1::int4 and o.job_id = $2::uuid and o.tenant_id = $3::int8
	order by o.token desc limit 1
), won as (
	insert into retry (bucket, job_id, token)
	select bucket, job_id, token from last l where status in (4, 5, 6)
		and exists (select 1 from payload p where p.bucket = l.bucket and p.job_id = l.job_id) and not exists (
		select 1 from job j join batch_file f on f.bucket = j.bucket and f.id = j.batch_id
		where j.bucket = l.bucket and j.id = l.job_id and f.max_cost_nanousd is not null)
	on conflict (bucket, job_id, token) do nothing
	returning bucket, job_id, token
), back as (
	insert into ready (pass, tenant_id, token, expires_at, bucket, lane, job_id, priority)
	select coalesce(f.floor, 0), j.tenant_id, w.token, now() + $4::int8 * interval '1 millisecond', j.bucket, j.lane, j.id, j.priority
	from won w join job j on j.bucket = w.bucket and j.id = w.job_id
	left join lane_floor f on f.lane = j.lane and f.priority = j.priority
	returning bucket, job_id, lane, priority
), reopened as (
	update batch b set finished_at = null, cancel_requested_at = null, failed = b.failed - (l.status = 4)::int, canceled = b.canceled - (l.status = 5)::int,
		expired = b.expired - (l.status = 6)::int
	from back k join job j on j.bucket = k.bucket and j.id = k.job_id cross join last l
	where b.bucket = j.bucket and b.id = j.batch_id and b.tenant_id = $3::int8
	returning b.bucket, b.id
), again as (
	update batch_file f set stage = 2, ending = null, finalizing_at = null, ended_at = null, output_file_id = null, error_file_id = null, keeper = null,
		keeper_until = null, look_at = now() + interval '1 minute', expires_at = greatest(f.expires_at, now() + $4::int8 * interval '1 millisecond')
	from reopened r where f.bucket = r.bucket and f.id = r.id and f.stage >= 2
)
select lane, priority from back
