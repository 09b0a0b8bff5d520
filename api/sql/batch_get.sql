-- SPDX-License-Identifier: Apache-2.0
-- One batch, by the view that all its readers share. $1 bucket $2 id $3 tenant.
select * from batch_now where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8
