-- SPDX-License-Identifier: Apache-2.0
-- Makes a blob that was written a file: the blob is whole, the file is there, and its Idempotency-Key is taken, all or nothing.
-- Always one row: whether the tenant has room for it, and the file. The file is NULL without room, when the key belongs to another request (then
-- idempotency_get tells whose), and when the blob was dropped as abandoned. Safe to send again with the same ids: then it finds what it made.
-- $1 bucket $2 file $3 tenant $4 blob $5 bytes $6 purpose $7 filename $8 media type (or NULL) $9 expires after so many seconds (or NULL: never)
-- $10 bytes that all files of the tenant may have (0: no limit) $11 key (or NULL) $12 fingerprint $13 key ttl in ms $14 status of the first answer.
with room as materialized (
	select $10::int8 = 0 or $5::int8 + coalesce((select sum(bytes) from file where tenant_id = $3::int8), 0)
		+ coalesce((select sum(bytes) from upload where tenant_id = $3::int8 and status = 0), 0) <= $10::int8 as ok
), keyed as (
	insert into idempotency as i (bucket, tenant_id, key, fingerprint, object_kind, object_id, status, expires_at)
	select $1::int4, $3::int8, $11::text, $12::bytea, 2, $2::uuid, $14::int2, now() + $13::int8 * interval '1 millisecond'
	from room
	where ok and $11::text is not null
		and exists (select 1 from blob where bucket = $1::int4 and id = $4::uuid and tenant_id = $3::int8 and state = 0)
	on conflict (bucket, tenant_id, key) do update
		set fingerprint = excluded.fingerprint, object_kind = 2, object_id = excluded.object_id, status = excluded.status, expires_at = excluded.expires_at
		where i.expires_at <= now()
	returning i.object_id
), whole as (
	update blob set state = 1, bytes = $5::int8
	from room
	where bucket = $1::int4 and id = $4::uuid and tenant_id = $3::int8 and state = 0 and ok and ($11::text is null or exists (select 1 from keyed))
	returning id
), made as (
	insert into file (bucket, id, tenant_id, purpose, filename, mime_type, bytes, blobs, expires_at)
	select $1::int4, $2::uuid, $3::int8, $6::text, $7::text, $8::text, $5::int8, array[id], now() + $9::int8 * interval '1 second'
	from whole
	returning id, created_at, expires_at
), one as (
	select id, created_at, expires_at from made
	union all
	select id, created_at, expires_at from file where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8
)
select r.ok or o.id is not null as has_room, o.id, o.created_at, o.expires_at
from room r left join one o on true
