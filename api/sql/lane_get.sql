-- SPDX-License-Identifier: Apache-2.0
-- The ids of lanes by name, made when new. One that another transaction makes at this moment is missing: ask again. $1 names.
with made as (
	insert into lane (name) select distinct n from unnest($1::text[]) as n order by n
	on conflict (name) do nothing
	returning id, name
)
select id, name from made
union
select id, name from lane where name = any($1::text[])
