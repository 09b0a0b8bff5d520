-- SPDX-License-Identifier: Apache-2.0
-- A page of a tenant's files over all buckets, newest first, with the columns of file_get. $1 tenant $2 before this id (or NULL) $3 limit
-- $4 purpose (or NULL).
select id, bytes, created_at, expires_at, filename, purpose
from file
where tenant_id = $1::int8 and id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
	and (expires_at is null or expires_at > now()) and purpose = coalesce($4::text, purpose)
order by id desc
limit $3::int4
