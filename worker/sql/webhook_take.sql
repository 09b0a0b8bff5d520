-- SPDX-License-Identifier: Apache-2.0
-- Takes up to $1 due deliveries for a try: each gets a new token and comes due again after $2 ms, should this worker vanish. In the order in which they
-- came due, or, where $3 is true, by receiver, beginning behind $4 and with at most $5 of each, but of the receivers $6 as many as $7 says: then one with a
-- long backlog is a single step, whatever it holds. At most 2,000 receivers are looked at. Comes back with all that the body tells: of the outcome that
-- the event is about, also when the job was retried since.
with recursive behind(receiver) as (
	select (select millrace_receiver(url) from webhook_delivery
		where $3::bool and next_at is not null and millrace_receiver(url) > $4::text order by 1 limit 1)
	union all
	select (select millrace_receiver(w.url) from webhook_delivery w
		where w.next_at is not null and millrace_receiver(w.url) > b.receiver order by 1 limit 1)
	from behind b where b.receiver is not null
), before(receiver) as (
	select (select millrace_receiver(url) from webhook_delivery
		where $3::bool and next_at is not null and millrace_receiver(url) <= $4::text order by 1 limit 1)
	union all
	select (select millrace_receiver(w.url) from webhook_delivery w
		where w.next_at is not null and millrace_receiver(w.url) > b.receiver and millrace_receiver(w.url) <= $4::text order by 1 limit 1)
	from before b where b.receiver is not null
), turns as (
	select receiver from (select receiver from behind union all select receiver from before) t where receiver is not null limit 2000
), due as (
	update webhook_delivery set token = token + 1, next_at = now() + $2::int8 * interval '1 millisecond'
	where ctid = any (array(
			select ctid from webhook_delivery where not $3::bool and next_at <= now() order by next_at limit $1::int4 for update skip locked)
		|| array(
			select picked.ctid from turns t, lateral (
				select w.ctid from webhook_delivery w where millrace_receiver(w.url) = t.receiver and w.next_at <= now() order by w.next_at
				limit coalesce((select u.room from unnest($6::text[], $7::int4[]) u(receiver, room) where u.receiver = t.receiver), $5::int4)
				for update of w skip locked) picked
			limit $1::int4))
	returning bucket, id, tenant_id, job_id, batch_id, event, url, tries, token, created_at
)
select d.bucket, d.id, d.token, d.event, d.url, d.tries, d.created_at, d.job_id, d.batch_id, t.webhook_secret,
	j.batch_id as job_batch, j.metadata, j.user_ref, j.route, o.status, o.finished_at, o.target, o.error_code, o.error_message, o.attempts,
	o.input_tokens, o.cached_input_tokens, o.output_tokens, o.cost_nanousd, o.level,
	b.total, b.succeeded, b.failed, b.canceled, b.expired, b.finished_at as batch_finished_at,
	j.form, o.flags, b.form as batch_form, millrace_receiver(d.url) as receiver
from due d
join tenant t on t.id = d.tenant_id
left join job j on j.bucket = d.bucket and j.id = d.job_id
left join lateral (
	select * from outcome o where o.bucket = d.bucket and o.job_id = d.job_id
		and o.status = case d.event when 'job.succeeded' then 3 when 'job.failed' then 4 when 'job.canceled' then 5 else 6 end
	order by o.token desc limit 1
) o on true
left join batch b on b.bucket = d.bucket and b.id = d.batch_id
