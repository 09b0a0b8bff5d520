-- SPDX-License-Identifier: Apache-2.0
-- Deletes some cached answers: $1 of this tenant (its name) $2 of this route $3 that are older than so many ms $4 with this key; NULL: not asked for.
-- $5 at most so many. Returns how many there were. The rows are locked in the order of their keys.
with gone as (
	delete from cache_entry e using (
		select bucket, key from cache_entry
		where ($1::text is null or tenant_id = (select id from tenant where name = $1::text))
			and ($2::text is null or route = $2::text)
			and ($3::int8 is null or created_at < now() - $3::int8 * interval '1 millisecond')
			and ($4::bytea is null or (bucket = millrace_key_bucket($4::bytea) and key = $4::bytea))
		order by bucket, key limit $5::int4 for update
	) k
	where e.bucket = k.bucket and e.key = k.key
	returning 1
)
select count(*) from gone
