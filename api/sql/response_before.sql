-- SPDX-License-Identifier: Apache-2.0
-- A response that another goes on from: its request and its answer. No row unless it came by the Responses API, succeeded, was not taken up again by a
-- retry, and both are still there. $1 bucket $2 id $3 tenant.
select p.body, s.body as result
from job j
join payload p on p.bucket = j.bucket and p.job_id = j.id
join lateral (
	select o.token, o.status from outcome o where o.bucket = j.bucket and o.job_id = j.id order by o.token desc limit 1
) o on o.status = 3
join result s on s.bucket = j.bucket and s.job_id = j.id and s.token = o.token
where j.bucket = $1::int4 and j.id = $2::uuid and j.tenant_id = $3::int8 and j.form = 2
	and not exists (select 1 from ready r where r.bucket = j.bucket and r.job_id = j.id)
	and not exists (select 1 from parked k where k.bucket = j.bucket and k.job_id = j.id)
	and not exists (select 1 from lease l where l.bucket = j.bucket and l.job_id = j.id)
