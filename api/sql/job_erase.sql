-- SPDX-License-Identifier: Apache-2.0
-- Erases what a job said and was answered, and keeps its accounting. $1 bucket $2 id $3 tenant. One row when the job exists: whether
-- it is live, in which case nothing was erased.
with j as (
	select j.bucket, j.id,
		exists (select 1 from ready r where r.bucket = j.bucket and r.job_id = j.id)
			or exists (select 1 from parked p where p.bucket = j.bucket and p.job_id = j.id)
			or exists (select 1 from lease l where l.bucket = j.bucket and l.job_id = j.id)
			or not exists (select 1 from outcome o where o.bucket = j.bucket and o.job_id = j.id) as live
	from job j where j.bucket = $1::int4 and j.id = $2::uuid and j.tenant_id = $3::int8
), request as (
	delete from payload p using j where not j.live and p.bucket = j.bucket and p.job_id = j.id
), answer as (
	delete from result r using j where not j.live and r.bucket = j.bucket and r.job_id = j.id
), pieces as (
	delete from chunk c using j where not j.live and c.bucket = j.bucket and c.job_id = j.id
), done as (
	delete from unstored u using j where not j.live and u.bucket = j.bucket and u.job_id = j.id
)
select live from j
