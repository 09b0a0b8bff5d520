-- SPDX-License-Identifier: Apache-2.0
-- The keeper lets go; somebody looks again after $5 ms. $1 bucket $2 id $3 keeper $4 tenant.
update batch_file set keeper = null, keeper_until = null, look_at = case when look_at is not null then now() + $5::int8 * interval '1 millisecond' end
where bucket = $1::int4 and id = $2::uuid and keeper = $3::uuid and tenant_id = $4::int8
