-- SPDX-License-Identifier: Apache-2.0
-- Makes a blob that was written a part of an upload. No row: the upload has ended or expired, or it would have more bytes than announced or too many
-- parts, or the blob was dropped as abandoned. Safe to send again. $1 bucket $2 upload $3 tenant $4 blob $5 bytes $6 parts at most.
with pending as materialized (
	select bucket, id, bytes
	from upload
	where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8 and status = 0 and expires_at > now()
	for no key update
), so_far as materialized (
	select coalesce(sum(p.bytes), 0) as bytes, count(*) as parts
	from pending u join upload_part p on p.bucket = u.bucket and p.upload_id = u.id
), whole as (
	update blob b set state = 1, bytes = $5::int8
	from pending u, so_far s
	where b.bucket = u.bucket and b.id = $4::uuid and b.tenant_id = $3::int8 and b.state = 0
		and s.bytes + $5::int8 <= u.bytes and s.parts < $6::int4
	returning b.id
), made as (
	insert into upload_part (bucket, upload_id, blob_id, bytes)
	select $1::int4, $2::uuid, id, $5::int8 from whole
	returning created_at
)
select created_at from made
union all
select created_at from upload_part where bucket = $1::int4 and upload_id = $2::uuid and blob_id = $4::uuid
