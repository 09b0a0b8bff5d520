-- SPDX-License-Identifier: Apache-2.0
-- Takes one batch that something is to be done for: one that is due, or whose jobs have all ended, and that nobody keeps. Sent again it finds what it took
-- before. $1 keeper, made for this taking $2 lease in ms.
with due as (
	select f.bucket, f.id from batch_file f
	where f.look_at is not null
		and (f.look_at <= now() or (f.stage = 2 and exists (
			select 1 from batch b where b.bucket = f.bucket and b.id = f.id and b.finished_at is not null)))
		and (f.keeper is null or f.keeper_until <= now() or f.keeper = $1::uuid)
	order by (f.keeper = $1::uuid) is not true, f.look_at
	limit 1 for update of f skip locked
), taken as (
	update batch_file f set keeper = $1::uuid, keeper_until = now() + $2::int8 * interval '1 millisecond'
	from due where f.bucket = due.bucket and f.id = due.id
	returning f.*
)
select t.id, t.tenant_id, t.form, t.stage, t.priority, t.endpoint, t.input_file_id, t.key_prefix, t.output_expires_s, t.dry_run, t.max_cost_nanousd, t.loaded,
	t.loaded_at, t.capped, t.expires_at, t.expires_at <= now() as is_late, b.total, b.cancel_requested_at is not null as is_canceled,
	b.finished_at is not null as is_over, n.weight
from taken t
join batch b on b.bucket = t.bucket and b.id = t.id
join tenant n on n.id = t.tenant_id
