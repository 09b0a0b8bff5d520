-- SPDX-License-Identifier: Apache-2.0
-- A page of a tenant's batches over all buckets, newest first, with the columns of batch_get. $1 tenant $2 after this id (or NULL) $3 limit.
select * from batch_now
where tenant_id = $1::int8 and id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by id desc
limit $3::int4
