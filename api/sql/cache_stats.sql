-- SPDX-License-Identifier: Apache-2.0
-- The cache in numbers: a row for all of it (no route, no tenant), one per route, one per tenant. Bytes are as stored, compressed. What hits saved is
-- what the answer cost once, for each of them; answers of unknown cost save nothing.
select case when grouping(e.route) = 0 then 1 when grouping(e.tenant_id) = 0 then 2 else 0 end::int2 as kind, e.route,
	case when grouping(e.tenant_id) = 0 then coalesce((select t.name from tenant t where t.id = e.tenant_id), '') end as tenant,
	count(*) as entries, coalesce(sum(pg_column_size(e.body)), 0)::int8 as bytes, count(*) filter (where e.expires_at > now()) as fresh,
	count(*) filter (where e.expires_at <= now()) as stale, coalesce(sum(e.hits), 0)::int8 as hits,
	least(coalesce(sum(e.hits::numeric * e.cost_nanousd), 0), 9223372036854775807)::int8 as saved
from cache_entry e
where e.stale_until > now()
group by grouping sets ((), (e.route), (e.tenant_id))
order by 1, entries desc, 2, 3
limit 2001
