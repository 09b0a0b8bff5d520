-- SPDX-License-Identifier: Apache-2.0
-- Deletes some files of all tenants that have expired and that no batch reads; their blobs are dropped. Returns how many. $1 at most so many.
with over as materialized (
	select f.bucket, f.id, f.tenant_id, f.blobs
	from file f
	where f.expires_at <= now()
		and not exists (select 1 from batch_file i where i.input_file_id = f.id and i.tenant_id = f.tenant_id and i.look_at is not null)
	order by f.expires_at
	limit $1::int4
	for update of f skip locked
), gone as (
	delete from file f using over o where f.bucket = o.bucket and f.id = o.id
), dropped as (
	update blob b set state = 2, written_at = now()
	from (select bucket, tenant_id, unnest(blobs) as id from over) o
	where b.bucket = o.bucket and b.id = o.id and b.tenant_id = o.tenant_id
)
select count(*)::int4 as files from over
