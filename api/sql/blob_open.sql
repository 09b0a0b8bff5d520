-- SPDX-License-Identifier: Apache-2.0
-- A file and its blobs: one row for each, in order; a file has at least one. One that has expired can be read as long as a batch does.
-- $1 bucket $2 file $3 tenant.
select f.bytes, f.created_at, f.expires_at, f.filename, f.purpose, f.mime_type, b.id as blob_id, b.bytes as blob_bytes
from file f
cross join lateral unnest(f.blobs) with ordinality as u(blob_id, n)
join blob b on b.bucket = f.bucket and b.id = u.blob_id
where f.bucket = $1::int4 and f.id = $2::uuid and f.tenant_id = $3::int8
	and (f.expires_at is null or f.expires_at > now()
		or exists (select 1 from batch_file i where i.input_file_id = f.id and i.tenant_id = f.tenant_id and i.look_at is not null))
order by u.n
