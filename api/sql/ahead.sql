-- SPDX-License-Identifier: Apache-2.0
-- How many waiting jobs stand before one in its lane, counted up to $5, and how many jobs all live workers ended in the last minute.
-- Over all buckets and tenants, as the claim is, and in its order: otherwise a long queue is read
-- whole to count the few before its first. $1 lane $2 priority $3 pass $4 job $5 most.
select (select count(*) from (
		select 1 from ready where lane = $1::int4 and (priority, pass, job_id) < ($2::int2, $3::int8, $4::uuid)
		order by priority, pass, job_id limit $5::int4 + 1) as r) as ahead,
	(select coalesce(sum(per_minute), 0) from worker where state = 0 and beat_at > now() - interval '1 minute') as per_minute
