-- SPDX-License-Identifier: Apache-2.0
-- Those of these jobs that have ended and were not put back into the queue since, with all that job_get tells, in its columns. For one that has not ended
-- this is one look-up: the outcome comes first, and "offset 0" keeps it there. $1 bucket $2 id $3 tenant.
select j.id, j.kind, j.route, j.batch_id, j.batch_index, j.priority, j.metadata, j.user_ref, j.created_at, j.run_at, j.expires_at, j.max_attempts,
	j.webhook_url, o.status, null::int4 as lane, null::int8 as pass, null::timestamptz as parked_until, null::int2 as reason, null::timestamptz as claimed_at,
	false as cancel_requested, o.attempts, o.interruptions,
	o.token, o.started_at, o.finished_at, o.level, o.target, o.error_code, o.error_message, o.error_status, o.input_tokens,
	o.cached_input_tokens, o.output_tokens, o.cost_nanousd, o.flags, s.body as result, o.token as version,
	j.expires_at as deadline, o.cache_write_tokens, o.reasoning_tokens, j.custom_id, j.estimate_nanousd
from (
	select o.*
	from unnest($1::int4[], $2::uuid[], $3::int8[]) as n(bucket, job_id, tenant_id)
	cross join lateral (
		select * from outcome o where o.bucket = n.bucket and o.job_id = n.job_id and o.tenant_id = n.tenant_id order by o.token desc limit 1
	) o
	where not exists (select 1 from lease l where l.bucket = n.bucket and l.job_id = n.job_id)
		and not exists (select 1 from ready r where r.bucket = n.bucket and r.job_id = n.job_id)
		and not exists (select 1 from parked p where p.bucket = n.bucket and p.job_id = n.job_id)
	offset 0
) o
join job j on j.bucket = o.bucket and j.id = o.job_id
left join result s on s.bucket = o.bucket and s.job_id = o.job_id and s.token = o.token
