-- SPDX-License-Identifier: Apache-2.0
-- Ends a batch of which no line became a job: its file is not valid, it was canceled before that was known, or it was a dry run. With its webhook's delivery.
-- $1 bucket $2 id $3 keeper $4 stage (4 over, 5 failed) $5 ending $6 errors (JSON or NULL) $7 error count $8 lines $9 model $10 estimate in nano-dollars
-- $11 estimated input tokens. Nothing happens to one that is not validating any more.
with moved as (
	update batch_file set stage = $4::int2, ending = $5::text, ended_at = now(), look_at = null, keeper = null, keeper_until = null, model = $9::text,
		estimate_nanousd = $10::int8, estimate_input_tokens = $11::int8
	where bucket = $1::int4 and id = $2::uuid and keeper = $3::uuid and stage = 0
	returning bucket, id
), over as (
	update batch b set total = $8::int4, errors = $6::text, error_count = $7::int4, finished_at = now()
	from moved m where b.bucket = m.bucket and b.id = m.id
	returning b.bucket, b.id, b.tenant_id, b.webhook_url
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, batch_id, event, url)
	select bucket, millrace_id(bucket), tenant_id, id, 'batch.' || $5::text, webhook_url from over where webhook_url is not null
)
select count(*) from over
