-- SPDX-License-Identifier: Apache-2.0
-- Raises the floors of lanes that claims have moved past; never lowers one. $1 lane $2 priority $3 floor. Returns all floors.
with mine as (
	insert into lane_floor as f (lane, priority, floor)
	select n.lane, n.priority, n.floor from unnest($1::int4[], $2::int2[], $3::int8[]) as n(lane, priority, floor)
	order by n.lane, n.priority
	on conflict (lane, priority) do update set floor = excluded.floor where f.floor < excluded.floor
	returning f.lane, f.priority, f.floor
)
select lane, priority, floor from mine
union all
select f.lane, f.priority, f.floor from lane_floor f
where not exists (select 1 from mine m where m.lane = f.lane and m.priority = f.priority)
