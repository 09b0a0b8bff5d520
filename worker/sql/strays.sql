-- SPDX-License-Identifier: Apache-2.0
-- Jobs that are leased to worker $1 by a claim before its number $2 and are not among the jobs $3 that it runs, at most $4, with the columns of
-- claim. The server goes on with a claim whose connection was given up; when that commits beside the claim's second sending, only this finds it.
-- "offset 0" keeps the look-ups by key: joined freely, the planner may read all jobs to find none.
select l.bucket, l.job_id, l.token, l.tenant_id, l.expires_at, l.claimed_at, l.pass, l.attempts, l.interruptions,
	j.kind, j.form, j.max_attempts, j.route, j.batch_id, j.webhook_url, p.body, j.created_at,
	l.lane, l.priority, l.followed, j.key_prefix, j.user_ref, j.metadata
from lease l
join lateral (select * from job where bucket = l.bucket and id = l.job_id offset 0) j on true
left join lateral (select body from payload where bucket = l.bucket and job_id = l.job_id offset 0) p on true
where l.worker_id = $1::uuid and l.claim_no < $2::int8 and l.job_id <> all ($3::uuid[])
limit $4::int4
