-- SPDX-License-Identifier: Apache-2.0
-- Deletes the groups of some batches of all tenants of which none came for an hour: whoever took them in died. Returns how many groups. $1 at most so many
-- batches.
with dead as materialized (
	select bucket, batch_id, tenant_id from batch_stage group by bucket, batch_id, tenant_id having max(written_at) < now() - interval '1 hour' limit $1::int4
), these as materialized (
	select s.bucket, s.batch_id, s.number
	from dead d join batch_stage s on s.bucket = d.bucket and s.batch_id = d.batch_id and s.tenant_id = d.tenant_id
	order by s.bucket, s.batch_id, s.number
	for update of s skip locked
), gone as (
	delete from batch_stage s using these t where s.bucket = t.bucket and s.batch_id = t.batch_id and s.number = t.number
)
select count(*)::int4 as groups from these
