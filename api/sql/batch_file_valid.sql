-- SPDX-License-Identifier: Apache-2.0
-- The file is valid: its lines become jobs from now on. The batch's total is there before the first of them, so that it cannot end early.
-- $1 bucket $2 id $3 keeper $4 lines $5 model of all (or NULL) $6 estimate in nano-dollars (or NULL) $7 estimated input tokens.
-- One row when it is so, now or by an earlier sending.
with moved as (
	update batch_file set stage = 1, in_progress_at = now(), model = $5::text, estimate_nanousd = $6::int8, estimate_input_tokens = $7::int8
	where bucket = $1::int4 and id = $2::uuid and keeper = $3::uuid and stage = 0
	returning bucket, id
), counted as (
	update batch b set total = $4::int4 from moved m where b.bucket = m.bucket and b.id = m.id
)
select 1 from moved
union all
select 1 from batch_file where bucket = $1::int4 and id = $2::uuid and keeper = $3::uuid and stage = 1
