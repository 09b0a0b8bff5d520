-- SPDX-License-Identifier: Apache-2.0
-- What an operator says of a target: $1 name $2 id of its key $3 whether the configuration has it $4 paused, resumed, draining or reset $5 detail of the
-- event (JSON). Sent again, or said twice, it finds nothing to change and writes no second event. A reset clears what the breaker counted: failures of
-- before count no more, as after a breaker that closed. Returns whether there is such a target, and whether anything changed.
with old as materialized (
	select s.*,
		exists (select 1 from target_tick t
			where t.name = s.name and t.failures > 0 and t.slot >= floor(extract(epoch from now()) / 10)::int8 - 6
				and t.slot > coalesce(floor(extract(epoch from s.closed_at) / 10)::int8, 0)) as has_failed
	from target_state s where s.name = $1::text for update of s
), made as (
	insert into target_state (name, key_id, admin)
	select $1::text, $2::text, case $4::text when 'paused' then 1 else 2 end
	where $3::bool and $4::text in ('paused', 'draining') and not exists (select 1 from old)
	on conflict (name) do update set admin = excluded.admin, updated_at = now()
	returning name
), changed as (
	update target_state s set
		admin = case $4::text when 'paused' then 1 when 'draining' then 2 when 'resumed' then 0 else s.admin end, updated_at = now()
	from old o
	where s.name = o.name and $4::text <> 'reset' and o.admin <> case $4::text when 'paused' then 1 when 'draining' then 2 else 0 end
	returning s.name
), cleared as (
	update target_state s set
		breaker = 0, generation = s.generation + (s.breaker <> 0)::int, fails_in_row = 0, reopen_at = null, open_ms = 0, probe_by = null, probe_until = null,
		successes = 0, closed_at = now(), parked_until = null, parked_why = null, disabled_at = null, disabled_why = null, updated_at = now()
	from old o
	where s.name = o.name and $4::text = 'reset' and (o.breaker <> 0 or o.fails_in_row <> 0 or o.successes <> 0 or o.open_ms <> 0 or o.parked_until is not null
		or o.disabled_at is not null or o.has_failed)
	returning s.name
), events as (
	insert into target_event (name, kind, detail)
	select name, $4::text, $5::text from (select name from made union all select name from changed union all select name from cleared) n
	returning id
)
select $3::bool or exists (select 1 from old) as known, exists (select 1 from events) as changed
