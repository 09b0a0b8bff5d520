-- SPDX-License-Identifier: Apache-2.0
-- Deletes some chunks of one dropped blob, or, when it has none left, the blob. A chunk that was on its way when the blob was dropped has arrived or failed
-- after a minute (a statement may take database.statement_timeout), so none is left behind. Returns the chunks and the blobs. $1 at most so many chunks.
with one as materialized (
	select bucket, id
	from blob
	where state = 2 and written_at < now() - interval '1 minute'
	order by written_at
	limit 1
	for update skip locked
), these as materialized (
	select c.bucket, c.blob_id, c.at
	from one o join blob_chunk c on c.bucket = o.bucket and c.blob_id = o.id
	order by c.at
	limit $1::int4
), gone as (
	delete from blob_chunk c using these s where c.bucket = s.bucket and c.blob_id = s.blob_id and c.at = s.at
), last as (
	delete from blob b using one o where b.bucket = o.bucket and b.id = o.id and not exists (select 1 from these)
	returning b.id
)
select (select count(*) from these)::int4 as chunks, (select count(*) from last)::int4 as blobs
