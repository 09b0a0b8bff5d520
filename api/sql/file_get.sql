-- SPDX-License-Identifier: Apache-2.0
-- A file that has not expired. $1 bucket $2 file $3 tenant.
select id, bytes, created_at, expires_at, filename, purpose
from file
where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8 and (expires_at is null or expires_at > now())
