-- SPDX-License-Identifier: Apache-2.0
-- Opens a batch: the first statement of the transaction whose others are batch_accept_jobs. With a key that belongs to another
-- submission nothing is written, and the statements that follow find no batch and write nothing either; likewise when groups of its lines that were
-- written before (batch_stage_add) are not all there any more. Safe to send again with the same id.
-- Returns the id when the batch is there, written now or by an earlier sending.
-- $1 bucket $2 id $3 tenant $4 total $5 errors (JSON or NULL) $6 error count $7 webhook URL $8 key (or NULL) $9 fingerprint
-- $10 key ttl in ms $11 status of the first answer $12 form $13 groups that were written before.
with staged as materialized (
	select number from batch_stage where bucket = $1::int4 and batch_id = $2::uuid and tenant_id = $3::int8 order by number for update
), whole as materialized (
	select 1 where (select count(*) from staged) = $13::int4
), keyed as (
	insert into idempotency as i (bucket, tenant_id, key, fingerprint, object_kind, object_id, status, expires_at)
	select $1::int4, $3::int8, $8::text, $9::bytea, 1, $2::uuid, $11::int2, now() + $10::int8 * interval '1 millisecond'
	from whole where $8::text is not null
	on conflict (bucket, tenant_id, key) do update
		set fingerprint = excluded.fingerprint, object_kind = 1, object_id = excluded.object_id, status = excluded.status, expires_at = excluded.expires_at
		where i.expires_at <= now()
	returning i.object_id
), made as (
	insert into batch (bucket, id, tenant_id, total, errors, error_count, webhook_url, form, finished_at)
	select $1::int4, $2::uuid, $3::int8, $4::int4, $5::text, $6::int4, $7::text, $12::int2, case when $4::int4 = 0 and $12::int2 <> 1 then now() end
	from whole where $8::text is null or exists (select 1 from keyed)
	on conflict (bucket, id) do nothing
	returning id
)
select id from made
union all
select id from batch where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8
