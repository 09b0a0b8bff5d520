-- SPDX-License-Identifier: Apache-2.0
-- Moves parked jobs whose time has come into the queue, at most $1. Returns lane and priority of each (to claim from) .
with due as (
	delete from parked where ctid = any (array(
		select ctid from parked where run_at <= now() order by run_at limit $1::int4 for update skip locked))
	returning *
)
insert into ready (pass, tenant_id, token, expires_at, bucket, lane, job_id, priority, attempts, interruptions)
select greatest(d.pass, coalesce(f.floor, 0)), d.tenant_id, d.token, d.expires_at, d.bucket, d.lane, d.job_id, d.priority, d.attempts, d.interruptions
from due d left join lane_floor f on f.lane = d.lane and f.priority = d.priority
returning lane, priority
