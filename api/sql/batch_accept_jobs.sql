-- SPDX-License-Identifier: Apache-2.0
-- Some jobs of a batch that this transaction opened (see batch_accept). All share the batch's bucket.
-- $1 bucket $2 batch id $3 tenant; columns: $4 id $5 index $6 kind $7 priority $8 lane $9 route $10 user $11 metadata $12 run_at
-- $13 expires_at $14 webhook URL $15 body $16 pass $17 counted from $18 max_attempts $19 custom_id $20 estimate (or NULL); $21 form $22 default deadline in ms
-- $23 prefix of the API key. Or, with the columns NULL, those of a group that batch_stage_add wrote: $24 its number (NULL: the columns are here).
-- Returns how many were written.
with staged as (
	delete from batch_stage s
	where s.bucket = $1::int4 and s.batch_id = $2::uuid and s.tenant_id = $3::int8 and s.number = $24::int4
		and exists (select 1 from batch b where b.bucket = $1::int4 and b.id = $2::uuid)
	returning s.*
), part as (
	select $4::uuid[] as ids, $5::int4[] as indexes, $6::int2[] as kinds, $7::int2[] as priorities, $8::int4[] as lanes, $9::text[] as routes,
		$10::text[] as users, $11::text[] as metadatas, $12::timestamptz[] as run_ats, $13::timestamptz[] as expires_ats, $14::text[] as webhook_urls,
		$15::text[] as bodies, $16::int8[] as passes, $17::int8[] as counted_froms, $18::int2[] as max_attempts, $19::text[] as custom_ids,
		$20::int8[] as estimates
	where $24::int4 is null and exists (select 1 from batch b where b.bucket = $1::int4 and b.id = $2::uuid)
	union all
	select ids, indexes, kinds, priorities, lanes, routes, users, metadatas, run_ats, expires_ats, webhook_urls, bodies, passes, counted_froms,
		max_attempts, custom_ids, estimates
	from staged
), input as materialized (
	select n.*, coalesce(n.given_expires_at, greatest(now(), coalesce(n.run_at, now())) + $22::int8 * interval '1 millisecond') as expires_at
	from part p, unnest(p.ids, p.indexes, p.kinds, p.priorities, p.lanes, p.routes, p.users, p.metadatas, p.run_ats, p.expires_ats, p.webhook_urls,
		p.bodies, p.passes, p.counted_froms, p.max_attempts, p.custom_ids, p.estimates)
		as n(id, batch_index, kind, priority, lane, route, user_ref, metadata, run_at, given_expires_at, webhook_url, body, pass, counted_from, max_attempts, custom_id,
			estimate_nanousd)
), jobs as (
	insert into job (bucket, id, tenant_id, run_at, expires_at, batch_id, batch_index, lane, kind, priority, max_attempts, route, user_ref, metadata, webhook_url,
		key_prefix, form, custom_id, estimate_nanousd)
	select $1::int4, id, $3::int8, run_at, expires_at, $2::uuid, batch_index, lane, kind, priority, max_attempts, route, user_ref, metadata, webhook_url,
		$23::text, $21::int2, custom_id, estimate_nanousd
	from input
	on conflict (bucket, id) do nothing
	returning id
), fresh as (
	select input.* from input join jobs on jobs.id = input.id
), bodies as (
	insert into payload (bucket, job_id, body) select $1::int4, id, body from fresh
), queued as (
	insert into ready (pass, tenant_id, token, expires_at, bucket, lane, job_id, priority)
	select f.pass + greatest(0, coalesce(l.floor, 0) - f.counted_from), $3::int8, 0, f.expires_at, $1::int4, f.lane, f.id, f.priority
	from fresh f left join lane_floor l on l.lane = f.lane and l.priority = f.priority
	where f.run_at is null or f.run_at <= now()
), scheduled as (
	insert into parked (pass, tenant_id, token, expires_at, run_at, bucket, lane, job_id, priority, reason)
	select f.pass, $3::int8, 0, f.expires_at, f.run_at, $1::int4, f.lane, f.id, f.priority, 0
	from fresh f
	where f.run_at > now()
)
select count(*) from jobs
