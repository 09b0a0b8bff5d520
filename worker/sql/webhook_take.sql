-- SPDX-License-Identifier: Apache-2.0
-- Takes up to $1 due deliveries for a try: each gets a new token and comes due again after $2 ms, should this worker vanish. Comes back with all that
-- the body tells: of the outcome that the event is about, also when the job was retried since.
with due as (
	update webhook_delivery set token = token + 1, next_at = now() + $2::int8 * interval '1 millisecond'
	where ctid = any (array(
		select ctid from webhook_delivery where next_at <= now() order by next_at limit $1::int4 for update skip locked))
	returning bucket, id, tenant_id, job_id, batch_id, event, url, tries, token, created_at
)
select d.bucket, d.id, d.token, d.event, d.url, d.tries, d.created_at, d.job_id, d.batch_id, t.webhook_secret,
	j.batch_id as job_batch, j.metadata, j.user_ref, j.route, o.status, o.finished_at, o.target, o.error_code, o.error_message, o.attempts,
	o.input_tokens, o.cached_input_tokens, o.output_tokens, o.cost_nanousd, o.level,
	b.total, b.succeeded, b.failed, b.canceled, b.expired, b.finished_at as batch_finished_at,
	j.form, o.flags, b.form as batch_form
from due d
join tenant t on t.id = d.tenant_id
left join job j on j.bucket = d.bucket and j.id = d.job_id
left join lateral (
	select * from outcome o where o.bucket = d.bucket and o.job_id = d.job_id
		and o.status = case d.event when 'job.succeeded' then 3 when 'job.failed' then 4 when 'job.canceled' then 5 else 6 end
	order by o.token desc limit 1
) o on true
left join batch b on b.bucket = d.bucket and b.id = d.batch_id
