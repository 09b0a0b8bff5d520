-- SPDX-License-Identifier: Apache-2.0
-- Which of these jobs have ended and were not put back into the queue since. $1 bucket $2 id $3 tenant.
select n.job_id
from unnest($1::int4[], $2::uuid[], $3::int8[]) as n(bucket, job_id, tenant_id)
where exists (select 1 from outcome o where o.bucket = n.bucket and o.job_id = n.job_id and o.tenant_id = n.tenant_id)
	and not exists (select 1 from lease l where l.bucket = n.bucket and l.job_id = n.job_id)
	and not exists (select 1 from ready r where r.bucket = n.bucket and r.job_id = n.job_id)
	and not exists (select 1 from parked p where p.bucket = n.bucket and p.job_id = n.job_id)
