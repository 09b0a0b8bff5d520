-- SPDX-License-Identifier: Apache-2.0
-- The output of a batch is written: its blobs become files, the batch is over, and its webhook's delivery is there, all or nothing. Only for its keeper,
-- while no job of it runs again (a retry opens it), and when no blob was dropped as abandoned. Rows are locked as a retry does: first the batch.
-- Says whether that is so, now or by an earlier sending with the same files.
-- $1 bucket $2 batch $3 tenant $4 keeper; $5 output file (NULL: none) $6 its blob $7 its bytes; $8 error file (NULL: none) $9 its blob $10 its bytes;
-- $11 life of the files in s.
with open as materialized (
	select b.bucket, b.id, b.webhook_url, b.expired, b.cancel_requested_at
	from batch b where b.bucket = $1::int4 and b.id = $2::uuid and b.tenant_id = $3::int8 and b.finished_at is not null
	for update
), whole as materialized (
	select id from blob where bucket = $1::int4 and tenant_id = $3::int8 and id in ($6::uuid, $9::uuid) and state = 0 order by id for update
), moved as (
	update batch_file f set stage = 4, ended_at = now(), look_at = null, keeper = null, keeper_until = null, output_file_id = $5::uuid, error_file_id = $8::uuid,
		ending = coalesce(f.ending, case when o.cancel_requested_at is not null then 'cancelled' when o.expired > 0 and f.expires_at <= now() then 'expired'
			else 'completed' end)
	from open o
	where f.bucket = o.bucket and f.id = o.id and f.keeper = $4::uuid and f.stage = 3
		and (select count(*) from whole) = num_nonnulls($6::uuid, $9::uuid)
	returning f.bucket, f.id, f.tenant_id, f.ending, o.webhook_url
), filled as (
	update blob b set state = 1, bytes = case b.id when $6::uuid then $7::int8 else $10::int8 end
	from moved m where b.bucket = m.bucket and b.id in ($6::uuid, $9::uuid)
), made as (
	insert into file (bucket, id, tenant_id, purpose, filename, mime_type, bytes, blobs, expires_at)
	select m.bucket, v.id, m.tenant_id, 'batch_output', 'batch_' || replace(m.id::text, '-', '') || v.suffix, 'application/jsonl', v.bytes, array[v.blob],
		now() + $11::int8 * interval '1 second'
	from moved m
	cross join (values ($5::uuid, $6::uuid, $7::int8, '_output.jsonl'), ($8::uuid, $9::uuid, $10::int8, '_error.jsonl')) as v(id, blob, bytes, suffix)
	where v.id is not null
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, batch_id, event, url)
	select bucket, millrace_id(bucket), tenant_id, id, 'batch.' || ending, webhook_url from moved where webhook_url is not null
)
select exists (select 1 from moved) or exists (
	select 1 from batch_file where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8 and stage = 4
		and output_file_id is not distinct from $5::uuid and error_file_id is not distinct from $8::uuid) as done
