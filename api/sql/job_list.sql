-- SPDX-License-Identifier: Apache-2.0
-- A page of a tenant's jobs over all buckets, newest first, with the columns of job_get but without results. A condition that is NULL is not asked for.
-- $1 tenant $2 after this id $3 limit $4 status $5 batch $6 route $7 user $8 created after $9 created before $10 metadata keys $11 their values.
-- The bounds on the id let partitions be left out; a day is allowed between the clocks of the database and of who made the id.
select j.id, j.kind, j.route, j.batch_id, j.batch_index, j.priority, j.metadata, j.user_ref, j.created_at, j.run_at, j.expires_at, j.max_attempts,
	j.webhook_url,
	case when l.job_id is not null then 2 when r.job_id is not null then 1
		when p.job_id is not null then case when p.reason = 0 then 0 else 1 end
		else coalesce(o.status, 1) end::int2 as status,
	r.lane, r.pass, coalesce(p.run_at, w.until) as parked_until, coalesce(p.reason, w.reason) as reason, l.claimed_at, coalesce(l.cancel_requested, false) as cancel_requested,
	coalesce(l.attempts, r.attempts, p.attempts, o.attempts, 0)::int2 as attempts,
	coalesce(l.interruptions, r.interruptions, p.interruptions, o.interruptions, 0)::int2 as interruptions,
	o.token, o.started_at, o.finished_at, o.level, o.target, o.error_code, o.error_message, o.error_status, o.input_tokens,
	o.cached_input_tokens, o.output_tokens, o.cost_nanousd, o.flags, null::text as result, coalesce(l.token, r.token, p.token, o.token, 0) as version,
	coalesce(r.expires_at, p.expires_at, l.expires_at, j.expires_at) as deadline, o.cache_write_tokens, o.reasoning_tokens, j.custom_id, j.estimate_nanousd
from job j
left join ready r on r.bucket = j.bucket and r.job_id = j.id
left join parked p on p.bucket = j.bucket and p.job_id = j.id
left join lease l on l.bucket = j.bucket and l.job_id = j.id
left join lane_wait w on w.lane = r.lane and w.at > now() - interval '5 seconds'
left join lateral (
	select * from outcome o where o.bucket = j.bucket and o.job_id = j.id
		and r.job_id is null and p.job_id is null and l.job_id is null
	order by o.token desc limit 1
) o on true
where j.tenant_id = $1::int8
	and j.id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
	and ($4::int2 is null or case when l.job_id is not null then 2 when r.job_id is not null then 1
		when p.job_id is not null then case when p.reason = 0 then 0 else 1 end else coalesce(o.status, 1) end = $4::int2)
	and ($5::uuid is null or j.batch_id = $5::uuid)
	and ($6::text is null or j.route = $6::text)
	and ($7::text is null or j.user_ref = $7::text)
	and ($8::timestamptz is null or (j.created_at > $8::timestamptz and j.id >= millrace_uuid_floor($8::timestamptz - interval '1 day')))
	and ($9::timestamptz is null or (j.created_at < $9::timestamptz and j.id < millrace_uuid_floor($9::timestamptz + interval '1 day')))
	and not exists (select 1 from unnest($10::text[], $11::text[]) as m(key, value)
		where (coalesce(j.metadata, '{}')::jsonb ->> m.key) is distinct from m.value)
order by j.id desc
limit $3::int4
