-- SPDX-License-Identifier: Apache-2.0
-- Makes the rows of targets that are new ($1 names, $2 ids of their keys), disabled where their key already is; a target whose key is another one than
-- its row says is enabled again. Sent again it finds nothing to do. Returns how many were enabled.
with n as (
	select * from unnest($1::text[], $2::text[]) as n(name, key_id)
), old as (
	select s.name, n.key_id, s.disabled_at
	from target_state s join n on n.name = s.name
	where s.key_id <> n.key_id
	order by s.name for update of s
), changed as (
	update target_state s set key_id = o.key_id, disabled_at = null, disabled_why = null, updated_at = now()
	from old o where s.name = o.name
	returning s.name, o.disabled_at is not null as was_disabled
), events as (
	insert into target_event (name, kind, detail)
	select name, 'enabled', '{"message":"the configuration has another key"}' from changed where was_disabled
), made as (
	insert into target_state (name, key_id, disabled_at, disabled_why)
	select n.name, n.key_id, k.disabled_at, k.disabled_why
	from n left join lateral (
		select s.disabled_at, s.disabled_why from target_state s
		where s.key_id = n.key_id and s.disabled_at is not null and split_part(s.disabled_why, ':', 1) in ('provider_auth', 'provider_billing')
		order by s.name limit 1
	) k on true
	where not exists (select 1 from target_state s where s.name = n.name) and (select count(*) from changed) >= 0
	order by n.name
	on conflict (name) do nothing
)
select count(*) filter (where was_disabled) as enabled from changed
