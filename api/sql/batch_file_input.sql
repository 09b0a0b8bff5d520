-- SPDX-License-Identifier: Apache-2.0
-- What a batch wants to know of its file. $1 bucket $2 id $3 tenant. No row: there is none, or it has expired.
select purpose, bytes from file
where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8 and (expires_at is null or expires_at > now())
