-- SPDX-License-Identifier: Apache-2.0
-- Deletes counts of calls of more than an hour ago, all but the last 1,000 events of each target, numbers of workers that were silent for a day, and
-- targets that nobody called for a week and that nothing is to be remembered of (they are in no configuration any more, or come back by themselves).
-- Rows that somebody else has locked are left for the next time.
with ticks as (
	delete from target_tick where (name, slot) in (
		select name, slot from target_tick where slot < floor(extract(epoch from now()) / 10)::int8 - 360 order by name, slot for update skip locked)
), events as (
	delete from target_event where id in (
		select e.id
		from (select distinct name from target_event) n
		cross join lateral (select t.id from target_event t where t.name = n.name order by t.id desc offset 999 limit 1) last
		join target_event e on e.name = n.name and e.id < last.id
		for update of e skip locked)
), reports as (
	delete from target_report where worker_id in (
		select worker_id from target_report where at < now() - interval '1 day' for update skip locked)
)
delete from target_state where name in (
	select name from target_state
	where updated_at < now() - interval '7 days' and admin = 0 and breaker = 0 and disabled_at is null and coalesce(parked_until, now()) <= now()
	order by name for update skip locked)
