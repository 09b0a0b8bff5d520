-- SPDX-License-Identifier: Apache-2.0
-- Deletes pieces of text that are older than $1 ms, at most $2. Returns how many.
with gone as (
	delete from chunk where ctid = any (array(select ctid from chunk where at < now() - $1::int8 * interval '1 millisecond' order by at limit $2::int4 for update skip locked))
	returning 1
)
select count(*) as n from gone
