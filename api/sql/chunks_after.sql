-- SPDX-License-Identifier: Apache-2.0
-- The pieces of text of one attempt after a seq, in order. $1 bucket $2 job $3 tenant $4 token $5 number $6 seq.
select c.seq, c.deltas from chunk c
where c.bucket = $1::int4 and c.job_id = $2::uuid and c.token = $4::int8 and c.number = $5::int4 and c.seq > $6::int4
	and exists (select 1 from job j where j.bucket = $1::int4 and j.id = $2::uuid and j.tenant_id = $3::int8)
order by c.seq
