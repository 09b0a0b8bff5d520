-- SPDX-License-Identifier: Apache-2.0
-- accept, for when it may have been committed before (its answer was lost): a job that is there already is not written twice, nor queued
-- twice. Same parameters, same result: an id that is missing was written by the earlier sending, or its key belongs to another.
-- $1 bucket $2 id $3 tenant $4 kind $5 priority $6 lane $7 route $8 user $9 metadata $10 run_at (or NULL) $11 expires_at (or NULL)
-- $12 webhook URL $13 body $14 key (or NULL) $15 fingerprint $16 pass $17 the virtual time that pass was counted from
-- $18 max_attempts $19 prefix of the API key $20 form $21 marks: 1 followed: somebody reads its text from the start, 2 awaited: only a
-- client of this api process can have its answer, 4 unstored: its bodies may not be kept $22 estimate (or NULL); $23 default deadline in ms, $24 key ttl in ms, $25 status of
-- the first answer, $26 this api process.
with input as materialized (
	select *, coalesce(n.given_expires_at, greatest(now(), coalesce(n.run_at, now())) + $23::int8 * interval '1 millisecond') as expires_at
	from unnest($1::int4[], $2::uuid[], $3::int8[], $4::int2[], $5::int2[], $6::int4[], $7::text[], $8::text[], $9::text[],
		$10::timestamptz[], $11::timestamptz[], $12::text[], $13::text[], $14::text[], $15::bytea[], $16::int8[], $17::int8[], $18::int2[], $19::text[], $20::int2[],
		$21::int2[], $22::int8[])
		as n(bucket, id, tenant_id, kind, priority, lane, route, user_ref, metadata, run_at, given_expires_at, webhook_url, body, key,
			fingerprint, pass, counted_from, max_attempts, key_prefix, form, marks, estimate_nanousd)
), keyed as (
	insert into idempotency as i (bucket, tenant_id, key, fingerprint, object_kind, object_id, status, expires_at)
	select bucket, tenant_id, key, fingerprint, 0, id, $25::int2,
		greatest(now() + $24::int8 * interval '1 millisecond', expires_at + interval '1 hour')
	from input where key is not null
	order by bucket, tenant_id, key
	on conflict (bucket, tenant_id, key) do update
		set fingerprint = excluded.fingerprint, object_kind = 0, object_id = excluded.object_id, status = excluded.status, expires_at = excluded.expires_at
		where i.expires_at <= now()
	returning i.object_id
), jobs as (
	insert into job (bucket, id, tenant_id, run_at, expires_at, lane, kind, priority, max_attempts, route, user_ref, metadata, webhook_url, key_prefix, form,
		awaited_by, estimate_nanousd)
	select bucket, id, tenant_id, run_at, expires_at, lane, kind, priority, max_attempts, route, user_ref, metadata, webhook_url, key_prefix, form,
		case when marks & 2 <> 0 then $26::uuid end, estimate_nanousd
	from input
	where key is null or id in (select object_id from keyed)
	on conflict (bucket, id) do nothing
	returning id, created_at, expires_at
), fresh as (
	select input.* from input join jobs on jobs.id = input.id
), bodies as (
	insert into payload (bucket, job_id, body) select bucket, id, body from fresh
), queued as (
	insert into ready (pass, tenant_id, token, expires_at, bucket, lane, job_id, priority, followed)
	select f.pass + greatest(0, coalesce(l.floor, 0) - f.counted_from), f.tenant_id, 0, f.expires_at, f.bucket, f.lane, f.id, f.priority, f.marks & 1 <> 0
	from fresh f left join lane_floor l on l.lane = f.lane and l.priority = f.priority
	where f.run_at is null or f.run_at <= now()
), scheduled as (
	insert into parked (pass, tenant_id, token, expires_at, run_at, bucket, lane, job_id, priority, reason)
	select f.pass, f.tenant_id, 0, f.expires_at, f.run_at, f.bucket, f.lane, f.id, f.priority, 0
	from fresh f
	where f.run_at > now()
), secret as (
	-- A repeat with its key has the same answer until the key lapses.
	insert into unstored (bucket, job_id, tenant_id, look_at)
	select f.bucket, f.id, f.tenant_id,
		case when f.key is null then now() else greatest(now() + $24::int8 * interval '1 millisecond', f.expires_at + interval '1 hour') end
	from fresh f where f.marks & 4 <> 0
)
select id, created_at, expires_at from jobs
