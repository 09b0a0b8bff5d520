-- SPDX-License-Identifier: Apache-2.0
-- What one worker saw of targets since its last report, all of them at once, their rows locked by name. A number of the worker that was counted before
-- is not counted again: then no row comes back. $1 worker $2 number of the report; $3 breaker.failures $4 breaker.open $5 breaker.open_max
-- $6 breaker.successes. Arrays: $7 name $8 calls $9 failures that count $10 retries $11 ms of answered calls $12 ms to their first tokens $13 answered
-- $14 failures before the first success (all, where there was none) $15 whether there was one $16 the longest row of failures after it $17 the row at
-- the end $18 the rates ask to open it, $19 in this generation; $20 a probe: 1 succeeded, 2 failed, 3 not made, 0 none, $21 of this generation; $22 the
-- last failure (JSON); $23 park for so long (ms) $24 why $25 (JSON); $26 disable, why $27 (JSON) $28 the key that was used $29 with all targets of that key;
-- $30 what the provider's headers said of limits (JSON).
-- Returns how the rows are now, and what happened: 1 opened, 2 closed, 4 parked, 8 disabled, 16 something else that others should know soon.
with mine as (
	insert into target_report as r (worker_id, number) values ($1::uuid, $2::int8)
	on conflict (worker_id) do update set number = excluded.number, at = now() where r.number < excluded.number
	returning 1
), n as (
	select * from unnest($7::text[], $8::int4[], $9::int4[], $10::int4[], $11::int8[], $12::int8[], $13::int4[], $14::int4[], $15::bool[], $16::int4[],
		$17::int4[], $18::bool[], $19::int8[], $20::int2[], $21::int8[], $22::text[], $23::int8[], $24::text[], $25::text[], $26::text[], $27::text[],
		$28::text[], $29::bool[], $30::text[])
		as n(name, calls, failures, retries, latency_ms, first_token_ms, answered, head, has_success, peak, tail, wants_open, generation, probe,
		probe_generation, failure, park_ms, park_why, park_detail, disable, disable_detail, key_id, whole_key, limits)
	where exists (select 1 from mine)
), old as (
	select s.* from target_state s
	where exists (select 1 from mine) and (s.name = any ($7::text[]) or s.key_id in (select key_id from n where whole_key and key_id <> ''))
	order by s.name for update of s
), seen as (
	select o.*, n.failure, n.park_detail, n.limits, n.park_why, n.probe, n.has_success, n.tail,
		n.park_ms is not null and (o.parked_until is null or o.parked_until < now() - interval '60 s') as first_park,
		now() + n.park_ms * interval '1 millisecond' as park_until,
		o.fails_in_row + n.head >= $3::int4 and n.head > 0 or n.peak >= $3::int4 or n.wants_open and n.generation = o.generation as must_open,
		coalesce(n.probe in (1, 2, 3) and o.breaker = 2 and o.probe_by = $1::uuid and o.generation = n.probe_generation, false) as heard,
		case when o.disabled_at is null then d.disable end as disable, d.disable_detail
	from old o left join n on n.name = o.name
	left join lateral (
		select d.disable, d.disable_detail from n d
		where d.disable is not null and d.key_id = o.key_id and (d.name = o.name or d.whole_key and d.key_id <> '')
		order by d.name <> o.name, d.name limit 1
	) d on true
), turned as (
	select s.*, case
		when heard and probe = 2 then 1
		when heard and probe = 1 and successes + 1 >= $6::int4 then 0
		when breaker = 0 and must_open then 1
		else breaker end as goes
	from seen s
), timed as (
	select t.*, case when goes = breaker then open_ms when goes = 0 then 0
		when breaker = 0 then $4::int8 else least(greatest(open_ms, $4::int8) * 2, greatest($5::int8, $4::int8)) end as opens_ms, random() as jitter
	from turned t
), next as (
	select t.*, case when goes = 1 and breaker <> 1 then now() + opens_ms * (0.9 + 0.2 * jitter) * interval '1 millisecond' else reopen_at end as reopens_at,
		case when goes = 0 and breaker <> 0 then 0 when tail is null then fails_in_row when has_success then tail
			else least(fails_in_row + tail, 1000000) end as fails,
		(goes = 1 and breaker <> 1)::int + 2 * (goes = 0 and breaker <> 0)::int + 4 * first_park::int + 8 * (disable is not null)::int
			+ 16 * (heard or coalesce(park_until > coalesce(parked_until, '-infinity'), false))::int as happened
	from timed t
), written as (
	update target_state s set
		breaker = x.goes, generation = x.generation + (x.goes <> x.breaker)::int, fails_in_row = x.fails,
		opened_at = case when x.happened & 1 = 1 then now() else x.opened_at end,
		closed_at = case when x.happened & 2 = 2 then now() else x.closed_at end,
		reopen_at = x.reopens_at, open_ms = x.opens_ms,
		successes = case when x.goes <> x.breaker then 0 else x.successes + (x.heard and x.probe = 1)::int end,
		probe_by = case when x.heard then null else x.probe_by end, probe_until = case when x.heard then null else x.probe_until end,
		parked_until = greatest(x.parked_until, x.park_until),
		parked_why = case when x.park_until > coalesce(x.parked_until, '-infinity') then x.park_why else x.parked_why end,
		disabled_at = case when x.disable is not null then now() else x.disabled_at end, disabled_why = coalesce(x.disable, x.disabled_why),
		limits_learned = coalesce(x.limits, x.limits_learned), updated_at = now()
	from next x where s.name = x.name
	returning s.name, s.breaker, s.generation, s.fails_in_row, s.reopen_at, x.happened
), ticks as (
	insert into target_tick as t (name, slot, calls, failures, retries, latency_ms, first_token_ms, answered)
	select n.name, floor(extract(epoch from now()) / 10)::int8, n.calls, n.failures, n.retries, n.latency_ms, n.first_token_ms, n.answered
	from n join written w on w.name = n.name
	where n.calls > 0
	order by n.name
	on conflict (name, slot) do update set calls = t.calls + excluded.calls, failures = t.failures + excluded.failures,
		retries = t.retries + excluded.retries, latency_ms = t.latency_ms + excluded.latency_ms,
		first_token_ms = t.first_token_ms + excluded.first_token_ms, answered = t.answered + excluded.answered
), events as (
	insert into target_event (name, kind, detail)
	select x.name, e.kind, e.detail
	from next x cross join lateral (values
		(1, 'opened', x.failure), (2, 'closed', json_build_object('worker', $1::uuid)::text), (4, 'parked', x.park_detail), (8, 'disabled', x.disable_detail)
	) as e(bit, kind, detail)
	where x.happened & e.bit <> 0
	order by x.name, e.bit
)
select name, breaker, generation, fails_in_row, (extract(epoch from reopen_at - now()) * 1000)::int8 as reopen_ms, happened from written
