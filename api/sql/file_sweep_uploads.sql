-- SPDX-License-Identifier: Apache-2.0
-- Deletes some uploads of all tenants: unfinished ones whose hour is over, with their parts; those that ended, a day later, so that a repeat of their
-- last call finds them. Parts that are still there belong to no file: their blobs are dropped. Returns how many. $1 at most so many.
with over as materialized (
	select bucket, id, tenant_id
	from upload
	where expires_at <= now() - case when status = 0 then interval '0' else interval '1 day' end
	order by expires_at
	limit $1::int4
	for update skip locked
), gone as (
	delete from upload u using over o where u.bucket = o.bucket and u.id = o.id
), parts as (
	delete from upload_part p using over o where p.bucket = o.bucket and p.upload_id = o.id
	returning p.bucket, p.blob_id, o.tenant_id
), dropped as (
	update blob b set state = 2, written_at = now()
	from parts p
	where b.bucket = p.bucket and b.id = p.blob_id and b.tenant_id = p.tenant_id
)
select count(*)::int4 as uploads from over
