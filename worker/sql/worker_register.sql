-- SPDX-License-Identifier: Apache-2.0
-- A new worker process. $1 id $2 host $3 pid $4 slots $5 boot (or NULL).
insert into worker (id, host, pid, slots, boot) values ($1::uuid, $2::text, $3::int4, $4::int4, $5::text)
on conflict (id) do nothing
