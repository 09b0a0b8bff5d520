-- SPDX-License-Identifier: Apache-2.0
-- Which of these batches have ended. $1 bucket $2 id $3 tenant.
select b.id
from unnest($1::int4[], $2::uuid[], $3::int8[]) as n(bucket, id, tenant_id)
join batch b on b.bucket = n.bucket and b.id = n.id and b.tenant_id = n.tenant_id
where b.finished_at is not null
