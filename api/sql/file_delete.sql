-- SPDX-License-Identifier: Apache-2.0
-- Deletes a file, unless a batch that is not over reads it; its blobs become the sweep's. Returns whether a batch reads it. Safe to send again.
-- $1 bucket $2 file $3 tenant.
with reading as materialized (
	select exists (select 1 from batch_file where input_file_id = $2::uuid and tenant_id = $3::int8 and look_at is not null) as busy
), gone as (
	delete from file f using reading r
	where f.bucket = $1::int4 and f.id = $2::uuid and f.tenant_id = $3::int8 and not r.busy
	returning f.blobs
), dropped as (
	update blob set state = 2, written_at = now()
	where bucket = $1::int4 and tenant_id = $3::int8 and id in (select unnest(blobs) from gone)
)
select busy from reading
