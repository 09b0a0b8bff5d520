-- SPDX-License-Identifier: Apache-2.0
-- Jobs that wait for targets try again now, not when they were to: an operator changed what they wait for. Of all tenants and lanes (no tenant_id, no
-- bucket): a job may have other targets, and waits again if none can be called. $1 also those that wait for rate limits $2 at most so many: the
-- soonest first. Returns how many. Said again, it does not find those that were woken.
with soon as materialized (
	select bucket, job_id from parked
	where run_at > now() and reason in (3, case when $1::bool then 2 else 3 end)
	order by run_at limit $2::int4 for update skip locked
), woken as (
	update parked p set run_at = now() from soon s where p.bucket = s.bucket and p.job_id = s.job_id
	returning 1
)
select count(*) from woken
