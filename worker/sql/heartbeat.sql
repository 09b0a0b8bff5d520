-- SPDX-License-Identifier: Apache-2.0
-- One heartbeat; no row comes back when this worker was declared dead. $1 id $2 loop turns $3 busy $4 jobs per minute $5 state.
update worker set beat_at = now(), turns = $2::int8, busy = $3::int4, per_minute = $4::int4, state = $5::int2
where id = $1::uuid and state in (0, 1)
returning id
