-- SPDX-License-Identifier: Apache-2.0
-- A new attempt series for the jobs of a batch that ended without success, among the $5 that follow line $4: as retry.sql, for many. The
-- batch is open again, and no longer canceled; one that came as a file is running again, and its output will be written anew: the files that were
-- stay until they expire. Under a cost cap as many jobs go back as it leaves room for by their bounds (a retried one counts its bound and what it cost),
-- and none while it is loading. What the jobs cost stays counted. $1 bucket $2 batch $3 tenant $6 deadline in ms.
-- Returns the last line looked at (NULL: there was none, all is done; $4: the batch changed meanwhile, look again) and how many jobs went back.
with cap as materialized (
	select case when f.stage >= 2 then f.max_cost_nanousd - (
			select coalesce(sum(case when o.token is null then j.bound_nanousd
				else coalesce(o.cost_nanousd, j.bound_nanousd) + case when y.token is not null then j.bound_nanousd else 0 end end), 0)
			from job j
			left join lateral (
				select o.token, o.cost_nanousd from outcome o where o.bucket = j.bucket and o.job_id = j.id order by o.token desc limit 1
			) o on true
			left join retry y on y.bucket = j.bucket and y.job_id = j.id and y.token = o.token
			where j.bucket = f.bucket and j.batch_id = f.id and j.tenant_id = f.tenant_id) else 0 end as room_nanousd
	from batch_file f where f.bucket = $1::int4 and f.id = $2::uuid and f.tenant_id = $3::int8 and f.max_cost_nanousd is not null
), held as materialized (
	select b.xmin as version from batch b where b.bucket = $1::int4 and b.id = $2::uuid and b.tenant_id = $3::int8 and exists (select 1 from cap) for update
), moved as materialized (
	-- What the cap leaves was read before the lock: not so when another retry had it meanwhile.
	select exists (select 1 from held h, batch b where b.bucket = $1::int4 and b.id = $2::uuid and b.tenant_id = $3::int8 and b.xmin <> h.version) as meanwhile
), part as materialized (
	select j.bucket, j.id, j.tenant_id, j.lane, j.priority, j.batch_index, j.bound_nanousd from job j
	where j.bucket = $1::int4 and j.batch_id = $2::uuid and j.tenant_id = $3::int8 and j.batch_index > $4::int4
	order by j.batch_index limit $5::int4
), ended as materialized (
	select p.*, o.token, o.status, sum(p.bound_nanousd) over (order by p.batch_index) as bounds from part p cross join lateral (
		select o.token, o.status from outcome o where o.bucket = p.bucket and o.job_id = p.id order by o.token desc limit 1) o
	where o.status in (4, 5, 6) and exists (select 1 from payload y where y.bucket = p.bucket and y.job_id = p.id)
		and not exists (select 1 from retry y where y.bucket = p.bucket and y.job_id = p.id and y.token = o.token)
), last as (
	select * from ended where not (select meanwhile from moved)
		and (not exists (select 1 from cap) or bounds <= (select room_nanousd from cap))
), won as (
	insert into retry (bucket, job_id, token)
	select bucket, id, token from last order by bucket, id
	on conflict (bucket, job_id, token) do nothing
	returning bucket, job_id, token
), back as (
	insert into ready (pass, tenant_id, token, expires_at, bucket, lane, job_id, priority)
	select coalesce(f.floor, 0), l.tenant_id, w.token, now() + $6::int8 * interval '1 millisecond', l.bucket, l.lane, l.id, l.priority
	from won w join last l on l.bucket = w.bucket and l.id = w.job_id
	left join lane_floor f on f.lane = l.lane and f.priority = l.priority
	returning job_id, lane, priority
), counts as (
	select count(*) filter (where l.status = 4) as failed, count(*) filter (where l.status = 5) as canceled, count(*) filter (where l.status = 6) as expired
	from back b join last l on l.id = b.job_id having count(*) > 0
), reopened as (
	-- Taken off at once, not by a delta: a fold that took other deltas before this one would find the batch at its end.
	update batch b set finished_at = null, cancel_requested_at = null, failed = b.failed - c.failed, canceled = b.canceled - c.canceled,
		expired = b.expired - c.expired
	from counts c
	where b.bucket = $1::int4 and b.id = $2::uuid and b.tenant_id = $3::int8
	returning b.bucket, b.id
), again as (
	-- Also one that runs: whoever is about to write its output must find that it changed.
	update batch_file f set stage = 2, ending = null, finalizing_at = null, ended_at = null, output_file_id = null, error_file_id = null, keeper = null,
		keeper_until = null, look_at = now() + interval '1 minute', expires_at = greatest(f.expires_at, now() + $6::int8 * interval '1 millisecond')
	from reopened r where f.bucket = r.bucket and f.id = r.id and f.stage >= 2
)
select case when (select meanwhile from moved) then $4::int4 else (select max(batch_index) from part) end as last_index,
	(select count(*) from back)::int4 as retried,
	(select min(lane) from back) as lane, (select min(priority) from back) as priority
