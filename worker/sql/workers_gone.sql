-- SPDX-License-Identifier: Apache-2.0
-- These workers ($1) have no process any more: their calls ended with them, so that their permits are free, and rescue takes their jobs at once.
update worker set state = 2
where id in (select id from worker where id = any ($1::uuid[]) and state in (0, 1, 3) order by id for update)
returning id
