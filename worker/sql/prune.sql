-- SPDX-License-Identifier: Apache-2.0
-- Deletes what has served: of bucket $1 expired idempotency keys, and webhooks, retries and ended batches that are older than the audit ($2 ms);
-- workers that went a day ago and hold nothing, api processes that did and left nothing behind, and fairness counts of those that have been silent for
-- ten minutes.
with keys as (
	delete from idempotency where bucket = $1::int4 and expires_at < now()
	returning 1
), deliveries as (
	delete from webhook_delivery where bucket = $1::int4 and next_at is null
		and id < millrace_uuid_floor(now() - $2::int8 * interval '1 millisecond')
), tries as (
	delete from webhook_try where bucket = $1::int4 and delivery_id < millrace_uuid_floor(now() - $2::int8 * interval '1 millisecond')
), retries as (
	delete from retry where bucket = $1::int4 and at < now() - $2::int8 * interval '1 millisecond'
		and job_id < millrace_uuid_floor(now() - $2::int8 * interval '1 millisecond')
		and not exists (select 1 from outcome o where o.bucket = retry.bucket and o.job_id = retry.job_id)
), batches as (
	delete from batch where bucket = $1::int4 and finished_at < now() - $2::int8 * interval '1 millisecond'
		and id < millrace_uuid_floor(now() - $2::int8 * interval '1 millisecond')
), batch_files as (
	delete from batch_file where bucket = $1::int4 and look_at is null and ended_at < now() - $2::int8 * interval '1 millisecond'
		and id < millrace_uuid_floor(now() - $2::int8 * interval '1 millisecond')
), workers as (
	delete from worker w where w.state in (2, 3) and w.beat_at < now() - interval '1 day'
		and not exists (select 1 from lease l where l.worker_id = w.id)
	returning 1
), apis as (
	delete from api_process where state in (2, 3) and swept = 1024 and beat_at < now() - interval '1 day'
), counts as (
	delete from fair_work where beat_at < now() - interval '10 minutes'
	returning 1
)
select (select count(*) from keys), (select count(*) from workers), (select count(*) from counts)
