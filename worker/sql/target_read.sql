-- SPDX-License-Identifier: Apache-2.0
-- What the fleet knows of all targets, with times in ms from now, and the calls of the last minute: whole slots of ten seconds, so up to ten seconds
-- more. The breaker's window begins anew when it closed. Probes are those of others: a worker knows of its own. $1 breaker.errors_in in ms $2 worker.
select s.name, s.key_id, s.admin, s.breaker, s.generation, s.fails_in_row,
	(extract(epoch from s.reopen_at - now()) * 1000)::int8 as reopen_ms,
	case when s.probe_by <> $2::uuid then (extract(epoch from s.probe_until - now()) * 1000)::int8 end as probe_ms,
	(extract(epoch from now() - s.closed_at) * 1000)::int8 as closed_ms,
	(extract(epoch from s.parked_until - now()) * 1000)::int8 as parked_ms,
	s.disabled_at is not null as disabled, s.disabled_why,
	coalesce(k.calls, 0) as calls, coalesce(k.retries, 0) as retries, coalesce(k.first_token_ms, 0) as first_token_ms, coalesce(k.answered, 0) as answered,
	coalesce(k.window_calls, 0) as window_calls, coalesce(k.window_failures, 0) as window_failures, coalesce(k.errors, 0) as errors
from target_state s
cross join (select floor(extract(epoch from now()) / 10)::int8 as slot) c
left join lateral (
	select sum(t.calls) as calls, sum(t.retries) as retries, sum(t.first_token_ms)::int8 as first_token_ms, sum(t.answered) as answered,
		sum(t.calls) filter (where n.counts) as window_calls, sum(t.failures) filter (where n.counts) as window_failures,
		sum(t.failures) filter (where n.counts and t.slot >= c.slot - $1::int8 / 10000) as errors
	from target_tick t
	cross join lateral (select s.closed_at is null or t.slot > floor(extract(epoch from s.closed_at) / 10)::int8 as counts) n
	where t.name = s.name and t.slot >= c.slot - 6
) k on true
