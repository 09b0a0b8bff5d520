-- SPDX-License-Identifier: Apache-2.0
-- Marks jobs as followed, wherever they stand, so that their worker writes their text. Rows that another statement has locked are left for
-- the next time: it waits for nobody. Returns the workers that have one of them now. $1 bucket $2 job $3 tenant.
with n as materialized (
	select distinct bucket, job_id, tenant_id from unnest($1::int4[], $2::uuid[], $3::int8[]) as n(bucket, job_id, tenant_id)
), r as (
	update ready t set followed = true
	from (select t.bucket, t.job_id from n join ready t on t.bucket = n.bucket and t.job_id = n.job_id and t.tenant_id = n.tenant_id
		where not t.followed order by 1, 2 for update of t skip locked) as x
	where t.bucket = x.bucket and t.job_id = x.job_id
), p as (
	update parked t set followed = true
	from (select t.bucket, t.job_id from n join parked t on t.bucket = n.bucket and t.job_id = n.job_id and t.tenant_id = n.tenant_id
		where not t.followed order by 1, 2 for update of t skip locked) as x
	where t.bucket = x.bucket and t.job_id = x.job_id
), l as (
	update lease t set followed = true
	from (select t.bucket, t.job_id from n join lease t on t.bucket = n.bucket and t.job_id = n.job_id and t.tenant_id = n.tenant_id
		where not t.followed order by 1, 2 for update of t skip locked) as x
	where t.bucket = x.bucket and t.job_id = x.job_id
	returning t.worker_id
)
select distinct worker_id from l
