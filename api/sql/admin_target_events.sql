-- SPDX-License-Identifier: Apache-2.0
-- The newest events of a target, the newest first. $1 name $2 how many.
select id, at, kind, detail from target_event where name = $1::text order by id desc limit $2::int4
