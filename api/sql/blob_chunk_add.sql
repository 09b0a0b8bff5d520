-- SPDX-License-Identifier: Apache-2.0
-- A chunk of a blob that is still being written, and once a minute the sign that it is. Its place is its key: safe to send again. A blob that was dropped
-- takes none: whoever makes a file of it finds that out. $1 bucket $2 blob $3 tenant $4 place $5 bytes.
with alive as (
	select b.bucket, b.id, b.written_at from blob b where b.bucket = $1::int4 and b.id = $2::uuid and b.tenant_id = $3::int8 and b.state = 0
), sign as (
	update blob b set written_at = now()
	from alive a
	where b.bucket = a.bucket and b.id = a.id and b.state = 0 and a.written_at < now() - interval '1 minute'
)
insert into blob_chunk (bucket, blob_id, at, data)
select bucket, id, $4::int8, $5::bytea from alive
on conflict (bucket, blob_id, at) do nothing
