-- SPDX-License-Identifier: Apache-2.0
-- All jobs of the batch have ended: its output is written next; by whoever finds it when the keeper's lease is over, should this one die. $1 bucket $2 id $3 keeper $4 tenant. One row when it is so, now or by an earlier sending.
with moved as (
	update batch_file f set stage = 3, finalizing_at = now(), look_at = now()
	from batch b
	where f.bucket = $1::int4 and f.id = $2::uuid and f.keeper = $3::uuid and f.tenant_id = $4::int8 and f.stage = 2 and b.bucket = f.bucket and b.id = f.id
		and b.finished_at is not null
	returning 1
)
select 1 from moved
union all
select 1 from batch_file where bucket = $1::int4 and id = $2::uuid and keeper = $3::uuid and tenant_id = $4::int8 and stage = 3
