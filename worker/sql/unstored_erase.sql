-- SPDX-License-Identifier: Apache-2.0
-- Erases the requests and answers of jobs that may not be kept, $2 ms after their end, and keeps their accounting; at most $1 that are due. Those that have
-- not ended are looked at again later. Returns how many were due, and how many were erased.
with due as materialized (
	select bucket, job_id from unstored where look_at <= now() order by look_at limit $1::int4 for update skip locked
), judged as materialized (
	select d.bucket, d.job_id, case when q.live then now() else coalesce(q.finished_at, '-infinity') end + $2::int8 * interval '1 millisecond' as erase_at
	from due d cross join lateral (
		-- "limit 1": of a plain "exists" the planner may read the whole table first.
		select coalesce((select true from ready r where r.bucket = d.bucket and r.job_id = d.job_id limit 1),
				(select true from parked p where p.bucket = d.bucket and p.job_id = d.job_id limit 1),
				(select true from lease l where l.bucket = d.bucket and l.job_id = d.job_id limit 1), false) as live,
			(select max(o.finished_at) from outcome o where o.bucket = d.bucket and o.job_id = d.job_id) as finished_at
	) q
), over as materialized (
	select bucket, job_id from judged where erase_at <= now()
), requests as (
	delete from payload p using over o where p.bucket = o.bucket and p.job_id = o.job_id
), answers as (
	delete from result r using over o where r.bucket = o.bucket and r.job_id = o.job_id
), pieces as (
	delete from chunk c using over o where c.bucket = o.bucket and c.job_id = o.job_id
), done as (
	delete from unstored u using over o where u.bucket = o.bucket and u.job_id = o.job_id
), later as (
	update unstored u set look_at = j.erase_at from judged j where u.bucket = j.bucket and u.job_id = j.job_id and j.erase_at > now()
)
select (select count(*) from due), (select count(*) from over)
