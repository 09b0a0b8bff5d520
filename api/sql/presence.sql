-- SPDX-License-Identifier: Apache-2.0
-- A heartbeat of an api process, its first included; one that was declared gone is live again. It is about no tenant.
-- $1 id $2 host $3 pid $4 boot (or NULL) $5 state.
insert into api_process as a (id, host, pid, boot, state) values ($1::uuid, $2::text, $3::int4, $4::text, $5::int2)
on conflict (id) do update set beat_at = now(), state = excluded.state, swept = 0
where a.state <> 2 or excluded.state = 2
