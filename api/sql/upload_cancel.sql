-- SPDX-License-Identifier: Apache-2.0
-- Cancels an upload that is pending; its parts go. Safe to send again. $1 bucket $2 upload $3 tenant.
with done as (
	update upload set status = 2
	where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8 and status = 0 and expires_at > now()
	returning bucket, id, tenant_id
), parts as (
	delete from upload_part p using done d where p.bucket = d.bucket and p.upload_id = d.id
	returning p.bucket, p.blob_id, d.tenant_id
), dropped as (
	update blob b set state = 2, written_at = now()
	from parts p
	where b.bucket = p.bucket and b.id = p.blob_id and b.tenant_id = p.tenant_id
)
select count(*)::int4 as canceled from done
