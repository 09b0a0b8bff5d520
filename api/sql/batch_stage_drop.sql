-- SPDX-License-Identifier: Apache-2.0
-- The groups of a batch that will not be made. $1 bucket $2 batch $3 tenant.
delete from batch_stage where bucket = $1::int4 and batch_id = $2::uuid and tenant_id = $3::int8
