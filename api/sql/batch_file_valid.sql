-- SPDX-License-Identifier: Apache-2.0
-- The file is valid: its lines become jobs from now on. The batch's total is there before the first of them, so that it cannot end early.
-- $1 bucket $2 id $3 keeper $4 tenant $5 lines $6 model of all (or NULL) $7 estimate in nano-dollars (or NULL) $8 estimated input tokens.
-- One row when it is so, now or by an earlier sending.
with moved as (
	update batch_file set stage = 1, in_progress_at = now(), model = $6::text, estimate_nanousd = $7::int8, estimate_input_tokens = $8::int8
	where bucket = $1::int4 and id = $2::uuid and keeper = $3::uuid and tenant_id = $4::int8 and stage = 0
	returning bucket, id
), counted as (
	update batch b set total = $5::int4 from moved m where b.bucket = m.bucket and b.id = m.id
)
select 1 from moved
union all
select 1 from batch_file where bucket = $1::int4 and id = $2::uuid and keeper = $3::uuid and tenant_id = $4::int8 and stage = 1
