-- SPDX-License-Identifier: Apache-2.0
-- What a response was asked with. No row: there is no such job; a body that was erased or dropped by age is NULL.
-- $1 bucket $2 id $3 tenant.
select j.form, p.body
from job j
left join payload p on p.bucket = j.bucket and p.job_id = j.id
where j.bucket = $1::int4 and j.id = $2::uuid and j.tenant_id = $3::int8
