-- SPDX-License-Identifier: Apache-2.0
-- The audit of one job: every upstream call. $1 bucket $2 id $3 tenant.
select a.number, a.token, a.target, a.started_at, a.first_token_ms, a.total_ms, a.http_status, a.code, a.message, a.next, a.flags,
	a.input_tokens, a.cached_input_tokens, a.output_tokens, a.cost_nanousd, a.price_input, a.price_cached_input, a.price_output,
	a.cache_write_tokens, a.reasoning_tokens, a.price_cache_write, a.choice
from attempt a
where a.bucket = $1::int4 and a.job_id = $2::uuid and a.tenant_id = $3::int8
order by a.token, a.number
