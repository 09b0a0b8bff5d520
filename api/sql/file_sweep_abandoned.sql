-- SPDX-License-Identifier: Apache-2.0
-- Drops some blobs of all tenants that are not whole and whose writer has given no sign for an hour: it died. Returns how many. $1 at most so many.
with dead as materialized (
	select bucket, id
	from blob
	where state = 0 and written_at < now() - interval '1 hour'
	order by written_at
	limit $1::int4
	for update skip locked
), dropped as (
	update blob b set state = 2, written_at = now() from dead d where b.bucket = d.bucket and b.id = d.id
)
select count(*)::int4 as blobs from dead
