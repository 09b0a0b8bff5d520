-- SPDX-License-Identifier: Apache-2.0
-- As file_list, oldest first. $1 tenant $2 after this id (or NULL) $3 limit $4 purpose (or NULL).
select id, bytes, created_at, expires_at, filename, purpose
from file
where tenant_id = $1::int8 and id > coalesce($2::uuid, '00000000-0000-0000-0000-000000000000')
	and (expires_at is null or expires_at > now()) and purpose = coalesce($4::text, purpose)
order by id
limit $3::int4
