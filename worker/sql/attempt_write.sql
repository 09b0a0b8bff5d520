-- SPDX-License-Identifier: Apache-2.0
-- Writes attempts of jobs that go on (a retry follows in the same lease), so that a crash does not lose what was paid for, and
-- keeps the count of attempts on the lease. Safe to send again. Returns the places (from 1) of the jobs
-- whose lease still carries the token.
-- $1 … $24 as $27 … $50 of record; $25 bucket $26 job $27 token $28 attempts.
with held as (
	update lease l set attempts = n.attempts
	from unnest($25::int4[], $26::uuid[], $27::int8[], $28::int2[]) with ordinality as n(bucket, job_id, token, attempts, place)
	where l.bucket = n.bucket and l.job_id = n.job_id and l.token = n.token
	returning l.bucket, l.job_id, l.token, l.tenant_id, n.place
), tries as (
	insert into attempt (bucket, job_id, token, tenant_id, number, target, started_at, first_token_ms, total_ms, http_status, code, message,
		input_tokens, cached_input_tokens, output_tokens, cost_nanousd, price_input, price_cached_input, price_output, flags, next, cache_write_tokens,
		reasoning_tokens, price_cache_write, choice)
	select a.bucket, a.job_id, a.token, h.tenant_id, a.number, a.target, a.started_at, a.first_token_ms, a.total_ms, a.http_status, a.code, a.message,
		a.input_tokens, a.cached_input_tokens, a.output_tokens, a.cost_nanousd, a.price_input, a.price_cached_input, a.price_output, a.flags, a.next,
		a.cache_write_tokens, a.reasoning_tokens, a.price_cache_write, a.choice
	from unnest($1::int4[], $2::uuid[], $3::int8[], $4::int2[], $5::text[], $6::timestamptz[], $7::int4[], $8::int4[], $9::int2[], $10::text[],
		$11::text[], $12::int8[], $13::int8[], $14::int8[], $15::int8[], $16::int8[], $17::int8[], $18::int8[], $19::int2[], $20::text[],
		$21::int8[], $22::int8[], $23::int8[], $24::text[])
		as a(bucket, job_id, token, number, target, started_at, first_token_ms, total_ms, http_status, code, message, input_tokens,
			cached_input_tokens, output_tokens, cost_nanousd, price_input, price_cached_input, price_output, flags, next, cache_write_tokens,
			reasoning_tokens, price_cache_write, choice)
	join held h on h.bucket = a.bucket and h.job_id = a.job_id and h.token = a.token
	on conflict (bucket, job_id, token, number) do nothing
)
select place from held
