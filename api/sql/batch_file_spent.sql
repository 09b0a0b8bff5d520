-- SPDX-License-Identifier: Apache-2.0
-- What the jobs of a batch with a cost cap may cost in all, and how many of them have not ended: an ended one counts what it cost (its bound where that is
-- not known), one that runs or waits its bound and what earlier series of it cost. $1 bucket $2 batch $3 tenant.
select coalesce(sum(case when w.is_live then j.bound_nanousd + coalesce(o.cost_nanousd, case when o.token is null then 0 else j.bound_nanousd end)
		else coalesce(o.cost_nanousd, j.bound_nanousd) end), 0)::int8 as nanousd,
	count(*) filter (where w.is_live)::int4 as live
from job j
cross join lateral (
	select exists (select 1 from ready r where r.bucket = j.bucket and r.job_id = j.id)
		or exists (select 1 from lease l where l.bucket = j.bucket and l.job_id = j.id)
		or exists (select 1 from parked p where p.bucket = j.bucket and p.job_id = j.id) as is_live
) w
left join lateral (
	select o.token, o.cost_nanousd from outcome o where o.bucket = j.bucket and o.job_id = j.id order by o.token desc limit 1
) o on true
where j.bucket = $1::int4 and j.batch_id = $2::uuid and j.tenant_id = $3::int8
