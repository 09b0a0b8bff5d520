-- SPDX-License-Identifier: Apache-2.0
-- Submissions of the last minute, counted by seconds over all api processes; the rows are locked in the order of their keys. $1 key (it names an API key or
-- a tenant, so no tenant_id is here) $2 requests per minute $3 want $4 back (taken, not used) $5 second in which that was taken.
-- Granted is what fits: no 60 seconds hold more than the limit, since this second and the 60 before it count. A row that is not there yet is made, and is
-- not returned: ask again. It is sent once (no second try after a lost answer): what a lost answer granted is lost for a minute.
-- Returns place in the arrays, granted, second, what is left, ms until the oldest of what is counted leaves the minute.
with input as materialized (
	select * from unnest($1::text[], $2::int8[], $3::int8[], $4::int8[], $5::int8[]) with ordinality as i(key, cap, want, back, back_second, place)
), made as (
	insert into limit_bucket (key)
	select i.key from input i where not exists (select 1 from limit_bucket b where b.key = i.key) order by i.key
	on conflict (key) do nothing
), locked as materialized (
	select b.key, b.at, b.taken from limit_bucket b where b.key = any ($1::text[]) order by b.key for update
), kept as (
	select i.*, c.now, c.second, s.taken, s.used
	from locked l join input i on i.key = l.key
	cross join lateral (select greatest(l.at, now()) as now, floor(extract(epoch from l.at))::int8 as was,
		floor(extract(epoch from greatest(l.at, now())))::int8 as second) c
	cross join lateral (
		select array_agg(v order by n) as taken, sum(v)::int8 as used
		from (
			select n, case when c.was - (c.was - (n - 1)) % 64 <= c.second - 61 then 0
				when i.back > 0 and i.back_second % 64 = n - 1 and i.back_second > c.second - 61 then greatest(0, t - i.back)
				else t end as v
			from unnest(l.taken) with ordinality as u(t, n)
		) counts
	) s
), decided as materialized (
	select *, least(want, greatest(0, cap - used)) as granted from kept
), written as (
	update limit_bucket b set at = d.now,
		taken = (select array_agg(t + case when d.second % 64 = n - 1 then d.granted else 0 end order by n) from unnest(d.taken) with ordinality as u(t, n))
	from decided d where b.key = d.key
)
select place, granted, second, greatest(0, cap - used - granted) as left_over,
	(1000 * greatest(0, coalesce((
		select min(second - (second - (n - 1)) % 64) from unnest(taken) with ordinality as u(t, n) where t > 0), second)
		+ 61 - extract(epoch from now)))::int8 as reset_ms
from decided order by place
