-- SPDX-License-Identifier: Apache-2.0
-- A blob that is being written. Safe to send again. $1 bucket $2 blob $3 tenant.
insert into blob (bucket, id, tenant_id) values ($1::int4, $2::uuid, $3::int8)
on conflict (bucket, id) do nothing
