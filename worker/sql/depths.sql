-- SPDX-License-Identifier: Apache-2.0
-- How much waits and runs. A long queue is estimated from the planner's statistics: counting it would cost more than it tells.
select case when (select reltuples from pg_class where oid = 'ready'::regclass) > 100000
		then (select reltuples from pg_class where oid = 'ready'::regclass)::int8 else (select count(*) from ready) end as queued,
	(select count(*) from parked) as parked,
	(select count(*) from lease) as running,
	coalesce((select (extract(epoch from now() - min(enqueued_at)))::int8 from
		(select enqueued_at from ready order by lane, priority, pass limit 100) head), 0) as oldest_s
