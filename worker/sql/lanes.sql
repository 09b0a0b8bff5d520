-- SPDX-License-Identifier: Apache-2.0
-- Every lane and priority in which something waits, with its first pass and the lane's name: a loose scan of the index, one step for each.
-- Starts from the beginning, so it also finds jobs that stand before the floor.
with recursive head as (
	(select lane, priority, pass, enqueued_at from ready order by lane, priority, pass, job_id limit 1)
	union all
	(select n.lane, n.priority, n.pass, n.enqueued_at from head h cross join lateral (
		select lane, priority, pass, enqueued_at from ready
		where (lane, priority) > (h.lane, h.priority)
		order by lane, priority, pass, job_id limit 1) n)
)
select lane, priority, pass, (extract(epoch from now() - enqueued_at) * 1000)::int8 as age_ms, (select name from lane where id = head.lane) as name from head
