-- SPDX-License-Identifier: Apache-2.0
-- The newest attempt of a lease of which there is text; no row: of none. What an earlier one said was taken back. $1 bucket $2 job $3 tenant $4 token.
select c.number from chunk c
where c.bucket = $1::int4 and c.job_id = $2::uuid and c.token = $4::int8
	and exists (select 1 from job j where j.bucket = $1::int4 and j.id = $2::uuid and j.tenant_id = $3::int8)
order by c.number desc limit 1
