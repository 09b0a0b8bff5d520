-- SPDX-License-Identifier: Apache-2.0
-- Makes the partitions of the next weeks and drops those that are older than $1 (bodies) and $2 (audit), in ms. One process at a
-- time; the others skip.
select case when pg_try_advisory_xact_lock(7305, 1) then
	millrace_make_partitions(now() - interval '7 days', now() + interval '21 days')
	+ millrace_drop_partitions($1::int8 * interval '1 millisecond', $2::int8 * interval '1 millisecond') end
