-- SPDX-License-Identifier: Apache-2.0
-- How many jobs of these tenants ($1) wait, scheduled ones too. Reads the queue from end to end, once for all that are asked for: on the connections for
-- what may take long, and no more often than ten times its own duration.
select n.tenant_id, coalesce(r.waiting, 0) + coalesce(p.waiting, 0) as waiting
from unnest($1::int8[]) as n(tenant_id)
left join (select tenant_id, count(*) as waiting from ready where tenant_id = any ($1::int8[]) group by tenant_id) r on r.tenant_id = n.tenant_id
left join (select tenant_id, count(*) as waiting from parked where tenant_id = any ($1::int8[]) group by tenant_id) p on p.tenant_id = n.tenant_id
