-- SPDX-License-Identifier: Apache-2.0
-- Deletes what has served: expired idempotency keys of bucket $1, workers that went a day ago and hold nothing, and fairness counts of
-- api processes that have been silent for ten minutes.
with keys as (
	delete from idempotency where bucket = $1::int4 and expires_at < now()
	returning 1
), workers as (
	delete from worker w where w.state in (2, 3) and w.beat_at < now() - interval '1 day'
		and not exists (select 1 from lease l where l.worker_id = w.id)
	returning 1
), counts as (
	delete from fair_work where beat_at < now() - interval '10 minutes'
	returning 1
)
select (select count(*) from keys), (select count(*) from workers), (select count(*) from counts)
