-- SPDX-License-Identifier: Apache-2.0
-- Targets by name, those of the configuration ($1) and those that have a row, with what the fleet knows of them. $2 only this one (NULL: all)
-- $3 after this name $4 how many $5 after how many ms a silent worker begins no calls. Calls are counted in whole slots of ten seconds: the last minute
-- is the last 50 to 60 seconds. What was taken of limits is of the last 60 seconds.
with named as materialized (
	select n.name
	from (select unnest($1::text[]) as name union select s.name from target_state s) n
	where ($2::text is null or n.name = $2::text) and ($3::text is null or n.name > $3::text)
	order by n.name limit $4::int4
)
select n.name, s.name is not null as has_row, s.key_id, coalesce(s.admin, 0)::int2 as admin, coalesce(s.breaker, 0)::int2 as breaker,
	coalesce(s.fails_in_row, 0) as fails_in_row, s.opened_at, s.reopen_at, coalesce(s.open_ms, 0) as open_ms, coalesce(s.successes, 0) as successes,
	s.probe_by, s.probe_until, s.parked_until, s.parked_why, s.disabled_at, s.disabled_why, s.limits_learned,
	coalesce(k.calls, 0) as calls, coalesce(k.failures, 0) as failures, coalesce(k.retries, 0) as retries, coalesce(k.answered, 0) as answered,
	coalesce(k.first_token_ms, 0) as first_token_ms, coalesce(k.latency_ms, 0) as latency_ms,
	coalesce(k.calls_10, 0) as calls_10, coalesce(k.failures_10, 0) as failures_10, coalesce(k.retries_10, 0) as retries_10,
	coalesce(k.answered_10, 0) as answered_10, coalesce(k.first_token_ms_10, 0) as first_token_ms_10, coalesce(k.latency_ms_10, 0) as latency_ms_10,
	l.requests, l.tokens, l.input_tokens, l.output_tokens,
	millrace_limit_held('target:' || n.name || ':concurrency', '00000000-0000-0000-0000-000000000000'::uuid, $5::int8) as held
from named n
left join target_state s on s.name = n.name
cross join (select extract(epoch from now()) as second, floor(extract(epoch from now()) / 10)::int8 as slot) c
left join lateral (
	select sum(t.calls) filter (where t.slot > c.slot - 6) as calls, sum(t.failures) filter (where t.slot > c.slot - 6) as failures,
		sum(t.retries) filter (where t.slot > c.slot - 6) as retries, sum(t.answered) filter (where t.slot > c.slot - 6) as answered,
		(sum(t.first_token_ms) filter (where t.slot > c.slot - 6))::int8 as first_token_ms,
		(sum(t.latency_ms) filter (where t.slot > c.slot - 6))::int8 as latency_ms,
		sum(t.calls) as calls_10, sum(t.failures) as failures_10, sum(t.retries) as retries_10, sum(t.answered) as answered_10,
		sum(t.first_token_ms)::int8 as first_token_ms_10, sum(t.latency_ms)::int8 as latency_ms_10
	from target_tick t where t.name = n.name and t.slot > c.slot - 60
) k on true
left join lateral (
	select max(u.used) filter (where u.kind = 'requests') as requests, max(u.used) filter (where u.kind = 'tokens') as tokens,
		max(u.used) filter (where u.kind = 'input_tokens') as input_tokens, max(u.used) filter (where u.kind = 'output_tokens') as output_tokens
	from (
		select k.kind, (
			select coalesce(sum(v.taken), 0)::int8
			from (select floor(extract(epoch from b.at))::int8 as was) w
			cross join unnest(b.taken) with ordinality as v(taken, place)
			where w.was - (w.was - (v.place - 1)) % 64 > c.second - 60) as used
		from unnest(array['requests', 'tokens', 'input_tokens', 'output_tokens']) k(kind)
		join limit_bucket b on b.key = 'target:' || n.name || ':' || k.kind
	) u
) l on true
order by n.name
