-- SPDX-License-Identifier: Apache-2.0
-- Marks a batch as canceling. $1 bucket $2 id $3 tenant. No row: there is no such batch.
update batch set cancel_requested_at = coalesce(cancel_requested_at, case when finished_at is null then now() end)
where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8
returning finished_at
