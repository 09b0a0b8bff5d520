-- SPDX-License-Identifier: Apache-2.0
-- An upload, the file that it became, and its parts: a row for each part, one row when there is none. $1 bucket $2 upload $3 tenant.
select u.id, u.status, u.expires_at <= now() as is_late, u.bytes, u.created_at, u.expires_at, u.purpose, u.filename, u.expires_after_s,
	f.id as file_id, f.bytes as file_bytes, f.created_at as file_created_at, f.expires_at as file_expires_at,
	p.blob_id as part_id, p.bytes as part_bytes
from upload u
left join file f on f.bucket = u.bucket and f.id = u.file_id and f.tenant_id = u.tenant_id
left join upload_part p on p.bucket = u.bucket and p.upload_id = u.id
where u.bucket = $1::int4 and u.id = $2::uuid and u.tenant_id = $3::int8
