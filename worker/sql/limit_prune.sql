-- SPDX-License-Identifier: Apache-2.0
-- Deletes counts of limits that nobody has used for ten minutes, and what workers that are gone held, when their calls are over. Skips what is
-- being used. $1 ms after which a silent worker begins no calls.
with holds as (
	delete from limit_hold where (key, worker_id) in (
		select h.key, h.worker_id from limit_hold h
		where (h.held = 0 and h.at < now() - interval '10 minutes')
			or not exists (select 1 from worker w where w.id = h.worker_id
				and (w.state in (0, 1) or (w.state = 3 and w.beat_at > now() - ($1::int8 + h.call_ms) * interval '1 millisecond')))
		order by h.key, h.worker_id limit 1000 for update skip locked)
	returning 1
), buckets as (
	delete from limit_bucket where key in (
		select b.key from limit_bucket b
		where b.at < now() - interval '10 minutes' and not exists (select 1 from limit_hold h where h.key = b.key)
		order by b.key limit 1000 for update skip locked)
	returning 1
)
select (select count(*) from holds), (select count(*) from buckets)
