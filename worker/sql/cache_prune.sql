-- SPDX-License-Identifier: Apache-2.0
-- Deletes answers that may not even serve stale any more, and flights that nobody waits for; at most $1 of each. Returns how many.
with entries as (
	delete from cache_entry where ctid = any (array(select ctid from cache_entry where stale_until < now() order by stale_until limit $1::int4 for update skip locked))
	returning 1
), flights as (
	delete from cache_flight where ctid = any (array(select ctid from cache_flight where until < now() - interval '1 hour' limit $1::int4 for update skip locked))
	returning 1
)
select (select count(*) from entries) + (select count(*) from flights) as n
