-- SPDX-License-Identifier: Apache-2.0
-- Erases what the jobs of an ended batch in Anthropic's form said and were answered, of the $5 lines that follow line $4. $1 bucket $2 batch $3 tenant.
-- Returns the last line looked at; NULL: there was none, or the batch runs.
with part as materialized (
	select j.bucket, j.id, j.batch_index
	from batch b join job j on j.bucket = b.bucket and j.batch_id = b.id and j.tenant_id = b.tenant_id
	where b.bucket = $1::int4 and b.id = $2::uuid and b.tenant_id = $3::int8 and b.form = 5 and b.finished_at is not null and j.batch_index > $4::int4
	order by j.batch_index limit $5::int4
), request as (
	delete from payload p using part where p.bucket = part.bucket and p.job_id = part.id
), answer as (
	delete from result r using part where r.bucket = part.bucket and r.job_id = part.id
)
select max(batch_index) from part
