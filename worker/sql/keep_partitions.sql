-- SPDX-License-Identifier: Apache-2.0
-- Makes the partitions of the next weeks and drops those that are older than $1 (bodies) and $2 (audit), in ms. One process at a
-- time; the others skip. None is made that would be dropped at once.
select case when pg_try_advisory_xact_lock(7305, 1) then
	millrace_make_partitions(now() - least(interval '1 day', $1::int8 * interval '1 millisecond', $2::int8 * interval '1 millisecond'),
		now() + interval '21 days')
	+ millrace_drop_partitions($1::int8 * interval '1 millisecond', $2::int8 * interval '1 millisecond') end
