-- SPDX-License-Identifier: Apache-2.0
-- All that this worker wants of limits, owes them and gives back, in one go; the rows are locked in the order of their keys. It is sent once (no second
-- try after a lost answer): what a lost answer granted is lost for a minute, what it gave back is not given back again.
-- What may be granted: no more than `cap` in the 63 seconds that may share a sliding minute with now (60, the second a slice lives, the second on the
-- way, and the rest of the oldest second are within them), and of `tokens`, which fill at that rate up to a thirtieth of it. A need larger than that
-- waits until they are full, takes all it needs and leaves them below zero; until then nobody else gets any (saver). Half of what is there is left
-- for other workers, where there are any. A row that is not there yet is made, and grants nothing this time: it is not returned.
-- Calls in flight (is_hold): want is how many calls this worker wants to hold in all, need how many it makes now, back how many it holds.
-- $1 key $2 cap $3 is_hold $4 starts full $5 want $6 need (at least this much or nothing) $7 back (unused) $8 second in which that was taken
-- $9 debt (used, not taken) $10 lower to (-1: no) $11 worker $12 seq of this statement $13 ms after which a silent
-- worker begins no calls. $14 ms that a call may last: what a silent worker held may be at the provider until then.
-- Returns place in the arrays, granted (of calls: held in all), second, ms until there may be something, what is left to take, live workers.
with input as materialized (
	select *, greatest(1, cap / 30) as burst, cap / 63.0::float8 as rate
	from unnest($1::text[], $2::int8[], $3::bool[], $4::bool[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::int8[], $10::int8[],
		$14::int8[]) with ordinality as i(key, cap, is_hold, starts_full, want, need, back, back_second, debt, lower, call_ms, place)
), made as (
	insert into limit_bucket (key, tokens)
	select i.key, case when i.starts_full then i.burst else 0 end
	from input i where not exists (select 1 from limit_bucket b where b.key = i.key) order by i.key
	on conflict (key) do nothing
), locked as materialized (
	select b.key, b.tokens, b.at, b.taken, b.saver, b.saver_until from limit_bucket b where b.key = any ($1::text[]) order by b.key for update
), fleet as materialized (
	select count(*) as workers, coalesce(bool_or(id = $11::uuid), false) as has_me
	from worker where state in (0, 1) and beat_at > now() - $13::int8 * interval '1 millisecond'
), kept as (
	select i.*, l.tokens, l.at, l.saver, l.saver_until, f.workers, f.has_me, c.now, c.second, s.taken, s.used
	from locked l join input i on i.key = l.key
	cross join fleet f
	cross join lateral (select greatest(l.at, now()) as now, floor(extract(epoch from l.at))::int8 as was,
		floor(extract(epoch from greatest(l.at, now())))::int8 as second) c
	-- The counts of the seconds that are over are cleared, what was unused is taken off its second, what was owed is of this one.
	cross join lateral (
		select array_agg(v order by n) as taken, sum(v)::int8 as used
		from (
			select n, case when c.was - (c.was - (n - 1)) % 64 <= c.second - 63 then 0
				when i.back_second % 64 = n - 1 and i.back_second > c.second - 63 then greatest(0, t - i.back)
				else t end + case when c.second % 64 = n - 1 then i.debt else 0 end as v
			from unnest(l.taken) with ordinality as u(t, n)
		) counts
		where not i.is_hold
	) s
), filled as (
	select *, greatest(0, cap - used) as room, saver <> $11::uuid and saver_until > now as is_saved,
		greatest(- cap, least(burst, tokens + rate * extract(epoch from now - at)::float8 + back,
			case when lower >= 0 then lower end) - debt) as level
	from kept
), decided as materialized (
	select *, case
		when is_hold then case when has_me then greatest(need, least(want, cap - others,
			case when want > back and workers > 1 then back + greatest(1, (cap - others - back + 1) / 2) else want end)) else 0 end
		when want = 0 or is_saved or room < need or level < least(need, burst) then 0
		when need > level then need
		else least(want, room, floor(level)::int8, case when workers > 1 then greatest(need, ceil(least(level, room) / 2)::int8) else want end)
		end as granted
	from (select *, case when is_hold then millrace_limit_held(key, $11::uuid, $13::int8) end as others from filled) x
), written as (
	update limit_bucket b set tokens = d.level - d.granted, at = d.now,
		taken = (select array_agg(t + case when d.second % 64 = n - 1 then d.granted else 0 end order by n) from unnest(d.taken) with ordinality as u(t, n)),
		saver = case when d.is_saved then d.saver when d.want > 0 and d.granted = 0 and d.need > d.burst then $11::uuid end,
		saver_until = case when d.is_saved then d.saver_until when d.want > 0 and d.granted = 0 and d.need > d.burst then d.now + interval '600 milliseconds' end
	from decided d where b.key = d.key and not d.is_hold
), held as (
	insert into limit_hold (key, worker_id, held, seq, call_ms)
	select d.key, $11::uuid, d.granted::int4, $12::int8, d.call_ms from decided d where d.is_hold and d.has_me order by d.key
	on conflict (key, worker_id) do update set held = excluded.held, seq = excluded.seq, call_ms = excluded.call_ms, at = now()
	where limit_hold.seq < excluded.seq
)
select place, granted, second,
	case when is_hold or want = 0 or granted > 0 then 0
		else ceil(1000 * greatest(case when is_saved then extract(epoch from saver_until - now)::float8 else 0 end,
			(least(need, burst) - level) / rate,
			case when room < need then (
				-- When enough of the oldest seconds are over.
				select min(s) + 63 - extract(epoch from now)::float8
				from (select s, sum(t) over (order by s) as gone
					from (select t, second - (second - (n - 1)) % 64 as s from unnest(taken) with ordinality as u(t, n)) seconds) oldest
				where gone >= need - room) else 0 end))::int8 end as wait_ms,
	case when is_hold then 0 when is_saved then 0 when level >= burst then room - granted else least(room, greatest(0, floor(level))::int8) - granted end as available,
	workers
from decided order by place
