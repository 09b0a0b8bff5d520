-- SPDX-License-Identifier: Apache-2.0
-- Publishes how much virtual time this process gave to its tenants ($2 tenant $3 lane $4 priority $5 work so far; $1 this process)
-- and returns the others' counts for the same ones. Processes that fell silent ($6 seconds) are left out.
with mine as (
	insert into fair_work (api_id, tenant_id, lane, priority, work, beat_at)
	select $1::uuid, n.tenant_id, n.lane, n.priority, n.work, now()
	from unnest($2::int8[], $3::int4[], $4::int2[], $5::int8[]) as n(tenant_id, lane, priority, work)
	on conflict (api_id, tenant_id, lane, priority) do update set work = excluded.work, beat_at = excluded.beat_at
)
select w.api_id, w.tenant_id, w.lane, w.priority, w.work
from unnest($2::int8[], $3::int4[], $4::int2[]) as n(tenant_id, lane, priority)
join fair_work w on w.tenant_id = n.tenant_id and w.lane = n.lane and w.priority = n.priority
where w.api_id <> $1::uuid and w.beat_at > now() - $6::int4 * interval '1 second'
