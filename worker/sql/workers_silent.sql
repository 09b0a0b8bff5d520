-- SPDX-License-Identifier: Apache-2.0
-- Workers of this boot ($1) that were not heard of for a second, but for the caller ($2): it looks whether their processes are there. At most 100.
select id, pid from worker
where boot = $1::text and id <> $2::uuid and state in (0, 1, 3) and beat_at < now() - interval '1 second'
order by id limit 100
