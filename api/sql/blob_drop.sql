-- SPDX-License-Identifier: Apache-2.0
-- A blob that its writer does not want: the sweep deletes it with its chunks. One that became content of a file stays. Safe to send again.
-- $1 bucket $2 blob $3 tenant.
update blob set state = 2, written_at = now()
where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8 and state = 0
