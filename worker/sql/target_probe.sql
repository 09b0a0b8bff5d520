-- SPDX-License-Identifier: Apache-2.0
-- Takes the right to the one probe of a target whose breaker is due or half-open, when nobody has it or who had it is overdue. $1 name $2 generation as
-- read $3 worker $4 ms until the probe is taken for lost. Sent again it gives the worker what it has. Returns whether it is ours, and how things are.
with old as (
	select s.*,
		s.breaker = 2 and s.probe_by = $3::uuid
		or s.generation = $2::int8 and (s.breaker = 1 and s.reopen_at <= now()
			or s.breaker = 2 and (s.probe_by is null or s.probe_until <= now())) as ours
	from target_state s where s.name = $1::text for update
), taken as (
	update target_state s set breaker = 2, generation = o.generation + (o.breaker = 1)::int, successes = case when o.breaker = 1 then 0 else o.successes end,
		probe_by = $3::uuid, probe_until = now() + $4::int8 * interval '1 millisecond', updated_at = now()
	from old o where s.name = o.name and o.ours
	returning s.generation
), events as (
	insert into target_event (name, kind, detail)
	select name, 'half_open', json_build_object('worker', $3::uuid)::text from old where ours and breaker = 1
)
select coalesce(o.ours, false) as ours, case when o.ours then 2 else o.breaker end as breaker, coalesce((select generation from taken), o.generation) as generation,
	(extract(epoch from o.reopen_at - now()) * 1000)::int8 as reopen_ms,
	case when o.ours then $4::int8 when o.probe_by is not null then (extract(epoch from o.probe_until - now()) * 1000)::int8 end as probe_ms,
	coalesce(o.ours, false) and o.breaker = 1 as turned
from old o
