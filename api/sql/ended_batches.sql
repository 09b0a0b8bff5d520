-- SPDX-License-Identifier: Apache-2.0
-- Which of these batches have ended. $1 bucket $2 id $3 tenant.
select b.id
from unnest($1::int4[], $2::uuid[], $3::int8[]) as n(bucket, id, tenant_id)
join batch b on b.bucket = n.bucket and b.id = n.id and b.tenant_id = n.tenant_id
where b.finished_at is not null
	and not exists (select 1 from batch_file f where f.bucket = b.bucket and f.id = b.id and f.look_at is not null) -- its output is not there yet
