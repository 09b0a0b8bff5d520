-- SPDX-License-Identifier: Apache-2.0
-- Jobs that are leased to worker $1 by a claim before its number $2 and are not among the jobs $3 that it runs, at most $4, with the columns of
-- claim. The server goes on with a claim whose connection was given up; when that commits beside the claim's second sending, only this finds it.
select l.bucket, l.job_id, l.token, l.tenant_id, l.expires_at, l.claimed_at, l.pass, l.attempts, l.interruptions,
	j.kind, j.form, j.max_attempts, j.route, j.batch_id, j.webhook_url, p.body, j.created_at,
	l.lane, l.priority
from lease l
join job j on j.bucket = l.bucket and j.id = l.job_id
left join payload p on p.bucket = l.bucket and p.job_id = l.job_id
where l.worker_id = $1::uuid and l.claim_no < $2::int8 and l.job_id <> all ($3::uuid[])
limit $4::int4
