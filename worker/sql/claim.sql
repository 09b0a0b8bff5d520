-- SPDX-License-Identifier: Apache-2.0
-- Takes up to $4 jobs of one lane and priority in fair order, from virtual time $3 on, and leases them to worker $5 as its claim number $6.
-- Sent again after a lost answer it returns what it took the first time. A worker that was declared dead gets nothing ($7: lease in ms).
-- The inner select is fenced by an array of ctids: otherwise the planner may lock more rows than the limit.
-- The lane's floor comes back in each row: where claims may start from now on is the caller's business (worker/queue/lanes.c).
with again as materialized (
	select bucket, job_id, token, tenant_id, expires_at, claimed_at, pass, lane, priority, attempts, interruptions, cancel_requested, followed
	from lease where worker_id = $5::uuid and claim_no = $6::int8
), alive as materialized (
	select 1 as yes from worker where id = $5::uuid and state = 0 and beat_at > now() - $7::int8 * interval '1 millisecond'
		and not exists (select 1 from again)
), taken as (
	delete from ready where ctid = any (array(
		select ctid from ready
		where lane = $1::int4 and priority = $2::int2 and pass >= $3::int8 and exists (select 1 from alive)
		order by pass, job_id
		limit $4::int4
		for update skip locked))
	returning *
), leased as (
	insert into lease (pass, tenant_id, token, expires_at, worker_id, claim_no, bucket, lane, job_id, priority, attempts, interruptions, followed)
	select pass, tenant_id, token + 1, expires_at, $5::uuid, $6::int8, bucket, lane, job_id, priority, attempts, interruptions, followed
	from taken
	returning bucket, job_id, token, tenant_id, expires_at, claimed_at, pass, lane, priority, attempts, interruptions, cancel_requested, followed
), mine as (
	select * from leased
	union all
	select * from again
)
select m.bucket, m.job_id, m.token, m.tenant_id, m.expires_at, m.claimed_at, m.pass, m.attempts, m.interruptions,
	j.kind, j.form, j.max_attempts, j.route, j.batch_id, j.webhook_url, p.body, j.created_at,
	m.lane, m.priority, m.followed, j.key_prefix, j.user_ref, j.metadata
from mine m
join job j on j.bucket = m.bucket and j.id = m.job_id
left join payload p on p.bucket = m.bucket and p.job_id = m.job_id
