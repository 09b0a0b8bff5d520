-- SPDX-License-Identifier: Apache-2.0
-- The end of a batch in Anthropic's form that was erased; its jobs stay for the accounts. $1 bucket $2 batch $3 tenant.
delete from batch where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8 and form = 5 and finished_at is not null
