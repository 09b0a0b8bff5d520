-- SPDX-License-Identifier: Apache-2.0
-- Declares api processes gone: those that have no process any more ($1), and those that have been silent for $2 ms where no live worker (it was heard of
-- within $3 ms) could see whether they are there; thirty times that is enough for any. Returns them.
update api_process set state = 3
where id = any (array(select a.id from api_process a
	where a.state = 0 and (a.id = any ($1::uuid[]) or a.beat_at < now() - 30 * $2::int8 * interval '1 millisecond'
		or (a.beat_at < now() - $2::int8 * interval '1 millisecond' and not exists (select 1 from worker w
			where w.boot = a.boot and w.state in (0, 1) and w.beat_at > now() - $3::int8 * interval '1 millisecond')))
	order by a.id for update skip locked))
returning id
