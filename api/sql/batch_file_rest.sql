-- SPDX-License-Identifier: Apache-2.0
-- The lines of a batch that are no jobs yet never will be: it was canceled, and they count as canceled; or its file is gone ($5), and they count as failed.
-- $1 bucket $2 id $3 keeper $4 tenant.
with moved as (
	update batch_file f set stage = 2, look_at = now() + interval '1 minute'
	from batch b
	where f.bucket = $1::int4 and f.id = $2::uuid and f.keeper = $3::uuid and f.tenant_id = $4::int8 and f.stage = 1 and b.bucket = f.bucket and b.id = f.id
		and ($5::bool or b.cancel_requested_at is not null)
	returning f.bucket, f.id, b.total - f.loaded as rest
)
insert into batch_delta (bucket, batch_id, failed, canceled)
select bucket, id, case when $5::bool then rest else 0 end, case when $5::bool then 0 else rest end from moved where rest > 0
