-- SPDX-License-Identifier: Apache-2.0
-- An upload in parts begins: for an hour. Always one row: whether the tenant has room for the bytes that it announces, and the upload, which is NULL
-- without room and when the key belongs to another request (then idempotency_get tells whose). Safe to send again with the same id.
-- $1 bucket $2 upload $3 tenant $4 purpose $5 filename $6 media type $7 bytes $8 expires after so many seconds (or NULL: the purpose's default)
-- $9 bytes that all files of the tenant may have (0: no limit) $10 key (or NULL) $11 fingerprint $12 key ttl in ms $13 status of the first answer.
with room as materialized (
	select $9::int8 = 0 or $7::int8 + coalesce((select sum(bytes) from file where tenant_id = $3::int8), 0)
		+ coalesce((select sum(bytes) from upload where tenant_id = $3::int8 and status = 0), 0) <= $9::int8 as ok
), keyed as (
	insert into idempotency as i (bucket, tenant_id, key, fingerprint, object_kind, object_id, status, expires_at)
	select $1::int4, $3::int8, $10::text, $11::bytea, 3, $2::uuid, $13::int2, now() + $12::int8 * interval '1 millisecond'
	from room where ok and $10::text is not null
	on conflict (bucket, tenant_id, key) do update
		set fingerprint = excluded.fingerprint, object_kind = 3, object_id = excluded.object_id, status = excluded.status, expires_at = excluded.expires_at
		where i.expires_at <= now()
	returning i.object_id
), made as (
	insert into upload (bucket, id, tenant_id, purpose, filename, mime_type, bytes, expires_after_s, expires_at)
	select $1::int4, $2::uuid, $3::int8, $4::text, $5::text, $6::text, $7::int8, $8::int4, now() + interval '1 hour'
	from room where ok and ($10::text is null or exists (select 1 from keyed))
	on conflict (bucket, id) do nothing
	returning id
), one as (
	select id from made
	union all
	select id from upload where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8
)
select r.ok or o.id is not null as has_room, o.id
from room r left join one o on true
