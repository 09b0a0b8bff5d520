-- SPDX-License-Identifier: Apache-2.0
-- A page of a batch's jobs in input order, with the columns of job_get: those after line $4, at most $5, no more than some 4 MiB of
-- results (one line always comes). $6: also those that have not ended. $1 bucket $2 batch $3 tenant.
select page.* from (
	select j.*, sum(coalesce(octet_length(j.result), 0)) over (order by j.batch_index) - coalesce(octet_length(j.result), 0) as bytes_before
	from (
	select j.id, j.kind, j.route, j.batch_id, j.batch_index, j.priority, j.metadata, j.user_ref, j.created_at, j.run_at, j.expires_at, j.max_attempts,
		j.webhook_url,
		case when l.job_id is not null then 2 when r.job_id is not null then 1
			when p.job_id is not null then case when p.reason = 0 then 0 else 1 end
			else coalesce(o.status, 1) end::int2 as status,
		r.lane, r.pass, coalesce(p.run_at, w.until) as parked_until, coalesce(p.reason, w.reason) as reason, l.claimed_at, coalesce(l.cancel_requested, false) as cancel_requested,
		coalesce(l.attempts, r.attempts, p.attempts, o.attempts, 0)::int2 as attempts,
		coalesce(l.interruptions, r.interruptions, p.interruptions, o.interruptions, 0)::int2 as interruptions,
		o.token, o.started_at, o.finished_at, o.level, o.target, o.error_code, o.error_message, o.error_status, o.input_tokens,
		o.cached_input_tokens, o.output_tokens, o.cost_nanousd, o.flags, s.body as result, coalesce(l.token, r.token, p.token, o.token, 0) as version,
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
	left join result s on s.bucket = o.bucket and s.job_id = o.job_id and s.token = o.token
	where j.bucket = $1::int4 and j.batch_id = $2::uuid and j.tenant_id = $3::int8 and j.batch_index > $4::int4
		and ($6::bool or o.job_id is not null)
	order by j.batch_index limit $5::int4
	) as j
) as page
where page.bytes_before < 4194304
order by page.batch_index
