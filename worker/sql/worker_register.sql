-- SPDX-License-Identifier: Apache-2.0
-- A new worker process. $1 id $2 host $3 pid $4 slots.
insert into worker (id, host, pid, slots) values ($1::uuid, $2::text, $3::int4, $4::int4)
on conflict (id) do nothing
