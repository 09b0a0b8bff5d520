-- SPDX-License-Identifier: Apache-2.0
-- Makes a pending upload the file of these parts, in this order; parts that are not among them are dropped. No row: it is not pending, or a part is not
-- there any more, or it is completed already with other parts. Safe to send again. $1 bucket $2 upload $3 tenant $4 parts $5 file $6 the file expires after so many seconds (or NULL: never).
with done as (
	update upload u set status = 1, file_id = $5::uuid
	where u.bucket = $1::int4 and u.id = $2::uuid and u.tenant_id = $3::int8 and u.status = 0 and u.expires_at > now()
		and (select count(*) from upload_part p where p.bucket = u.bucket and p.upload_id = u.id and p.blob_id = any ($4::uuid[]))
			= cardinality($4::uuid[])
	returning u.bucket, u.id, u.tenant_id, u.purpose, u.filename, u.mime_type, u.bytes
), made as (
	insert into file (bucket, id, tenant_id, purpose, filename, mime_type, bytes, blobs, expires_at)
	select bucket, $5::uuid, tenant_id, purpose, filename, mime_type, bytes, $4::uuid[], now() + $6::int8 * interval '1 second'
	from done
	returning id
), parts as (
	delete from upload_part p using done d where p.bucket = d.bucket and p.upload_id = d.id
	returning p.bucket, p.blob_id
), dropped as (
	update blob b set state = 2, written_at = now()
	from parts p
	where b.bucket = p.bucket and b.id = p.blob_id and b.tenant_id = $3::int8 and p.blob_id <> all ($4::uuid[])
)
select id from made
union all
select u.file_id from upload u
where u.bucket = $1::int4 and u.id = $2::uuid and u.tenant_id = $3::int8 and u.status = 1
	and not exists (select 1 from file f where f.bucket = u.bucket and f.id = u.file_id and f.tenant_id = u.tenant_id and f.blobs <> $4::uuid[])
