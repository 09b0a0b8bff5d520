-- SPDX-License-Identifier: Apache-2.0
-- Ends jobs: for each whose lease still carries the token, deletes the lease and writes outcome, result, attempts, batch count and
-- webhook delivery, all in this one statement. Returns per job (its place in the arrays, from 1) whether it was written now (done), or by an earlier sending of this
-- same statement (already); neither: the lease was lost, and nothing was written for it.
-- $1 bucket $2 job $3 token $4 status $5 level $6 target $7 error code $8 error message $9 error status $10 attempts
-- $11 input $12 cached input $13 output tokens $14 cost (NULL: unknown) $15 flags $16 result (or NULL) $17 batch (or NULL) $18 webhook URL (or NULL)
-- $19 cache write tokens $20 reasoning tokens; an answer to keep: $21 key (or NULL) $22 namespace $23 route $24 ttl ms $25 ms that it may serve stale;
-- $26 what is known of $14.
-- attempts not yet written: $27 bucket $28 job $29 token $30 number $31 target $32 started_at $33 first token ms $34 total ms $35 HTTP status
-- $36 code $37 message $38 input $39 cached input $40 output $41 cost $42 price in $43 price cached $44 price out $45 flags $46 next $47 cache write
-- $48 reasoning $49 price of cache writes $50 choice.
-- $51 this worker.
with input as materialized (
	select * from unnest($1::int4[], $2::uuid[], $3::int8[], $4::int2[], $5::int2[], $6::text[], $7::text[], $8::text[], $9::int2[], $10::int2[],
		$11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int2[], $16::text[], $17::uuid[], $18::text[],
		$19::int8[], $20::int8[], $21::bytea[], $22::text[], $23::text[], $24::int8[], $25::int8[], $26::int8[])
		with ordinality as n(bucket, job_id, token, status, level, target, error_code, error_message, error_status, attempts, input_tokens,
			cached_input_tokens, output_tokens, cost_nanousd, flags, result, batch_id, webhook_url, cache_write_tokens, reasoning_tokens,
			cache_key, cache_namespace, cache_route, cache_ttl_ms, cache_stale_ms, known_nanousd, place)
), gone as (
	delete from lease l using input n
	where l.bucket = n.bucket and l.job_id = n.job_id and l.token = n.token
	returning l.bucket, l.job_id, l.token, l.tenant_id, l.claimed_at, l.interruptions, n.status, n.level, n.target, n.error_code, n.error_message,
		n.error_status, n.attempts, n.input_tokens, n.cached_input_tokens, n.output_tokens, n.cost_nanousd, n.flags, n.result, n.batch_id, n.webhook_url,
		n.cache_write_tokens, n.reasoning_tokens, n.cache_key, n.cache_namespace, n.cache_route, n.cache_ttl_ms, n.cache_stale_ms, n.known_nanousd
), spent as materialized (
	-- What earlier leases of the job used is part of what it cost. Its batch counted the part that an outcome before a retry had; what is fresh it has not.
	select o.bucket, o.job_id, s.*
	from gone o cross join lateral (
		select sum(a.input_tokens) as input_tokens, sum(a.cached_input_tokens) as cached_input_tokens, sum(a.output_tokens) as output_tokens,
			sum(a.cache_write_tokens) as cache_write_tokens, sum(a.reasoning_tokens) as reasoning_tokens, sum(a.cost_nanousd) as known_nanousd,
			bool_or(a.cost_nanousd is null) as is_unknown, sum(a.input_tokens) filter (where a.fresh) as fresh_input,
			sum(a.cached_input_tokens) filter (where a.fresh) as fresh_cached, sum(a.output_tokens) filter (where a.fresh) as fresh_output,
			sum(a.reasoning_tokens) filter (where a.fresh) as fresh_reasoning, sum(a.cost_nanousd) filter (where a.fresh) as fresh_nanousd,
			bool_or(a.cost_nanousd is null) filter (where a.fresh) as fresh_unknown,
			bool_or(a.cost_nanousd is null) filter (where not a.fresh) as old_unknown
		from (select t.*, t.token > coalesce((
				select max(l.token) from outcome l where l.bucket = o.bucket and l.job_id = o.job_id and l.token < o.token), 0) as fresh
			from attempt t where t.bucket = o.bucket and t.job_id = o.job_id and t.token < o.token) a
	) s where o.token > 1
), outcomes as (
	insert into outcome (bucket, job_id, token, tenant_id, started_at, worker_id, input_tokens, cached_input_tokens, output_tokens, cost_nanousd,
		status, level, attempts, interruptions, error_status, flags, target, error_code, error_message, cache_write_tokens, reasoning_tokens)
	select g.bucket, g.job_id, g.token, g.tenant_id, g.claimed_at, $51::uuid, g.input_tokens + coalesce(s.input_tokens, 0),
		g.cached_input_tokens + coalesce(s.cached_input_tokens, 0), g.output_tokens + coalesce(s.output_tokens, 0),
		g.cost_nanousd + case when s.is_unknown is not true then coalesce(s.known_nanousd, 0) end,
		g.status, g.level, g.attempts, g.interruptions, g.error_status, g.flags, g.target, g.error_code, g.error_message,
		g.cache_write_tokens + coalesce(s.cache_write_tokens, 0), g.reasoning_tokens + coalesce(s.reasoning_tokens, 0)
	from gone g left join spent s on s.bucket = g.bucket and s.job_id = g.job_id
), results as (
	insert into result (bucket, job_id, token, body)
	select bucket, job_id, token, result from gone where result is not null
), tries as (
	insert into attempt (bucket, job_id, token, tenant_id, number, target, started_at, first_token_ms, total_ms, http_status, code, message,
		input_tokens, cached_input_tokens, output_tokens, cost_nanousd, price_input, price_cached_input, price_output, flags, next, cache_write_tokens,
		reasoning_tokens, price_cache_write, choice)
	select a.bucket, a.job_id, a.token, g.tenant_id, a.number, a.target, a.started_at, a.first_token_ms, a.total_ms, a.http_status, a.code, a.message,
		a.input_tokens, a.cached_input_tokens, a.output_tokens, a.cost_nanousd, a.price_input, a.price_cached_input, a.price_output, a.flags, a.next,
		a.cache_write_tokens, a.reasoning_tokens, a.price_cache_write, a.choice
	from unnest($27::int4[], $28::uuid[], $29::int8[], $30::int2[], $31::text[], $32::timestamptz[], $33::int4[], $34::int4[], $35::int2[], $36::text[],
		$37::text[], $38::int8[], $39::int8[], $40::int8[], $41::int8[], $42::int8[], $43::int8[], $44::int8[], $45::int2[], $46::text[],
		$47::int8[], $48::int8[], $49::int8[], $50::text[])
		as a(bucket, job_id, token, number, target, started_at, first_token_ms, total_ms, http_status, code, message, input_tokens,
			cached_input_tokens, output_tokens, cost_nanousd, price_input, price_cached_input, price_output, flags, next, cache_write_tokens,
			reasoning_tokens, price_cache_write, choice)
	join gone g on g.bucket = a.bucket and g.job_id = a.job_id and g.token = a.token
), answers as (
	insert into cache_entry as e (bucket, key, tenant_id, namespace, route, target, body, input_tokens, output_tokens, cost_nanousd, expires_at, stale_until)
	select distinct on (1, 2) millrace_key_bucket(cache_key), cache_key, tenant_id, cache_namespace, cache_route, coalesce(target, ''), result, input_tokens,
		output_tokens, cost_nanousd, now() + cache_ttl_ms * interval '1 millisecond', now() + (cache_ttl_ms + cache_stale_ms) * interval '1 millisecond'
	from gone where cache_key is not null and result is not null
	order by 1, 2
	on conflict (bucket, key) do update set tenant_id = excluded.tenant_id, target = excluded.target, body = excluded.body,
		input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, cost_nanousd = excluded.cost_nanousd, created_at = now(),
		expires_at = excluded.expires_at, stale_until = excluded.stale_until
), landed as (
	delete from cache_flight c using gone g
	where g.cache_key is not null and c.bucket = millrace_key_bucket(g.cache_key) and c.key = g.cache_key and c.job_id = g.job_id and c.token = g.token
), counts as (
	insert into batch_delta (bucket, batch_id, succeeded, failed, canceled, expired, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens,
		cost_nanousd, cost_unknown)
	select g.bucket, g.batch_id, count(*) filter (where g.status = 3), count(*) filter (where g.status = 4), count(*) filter (where g.status = 5),
		count(*) filter (where g.status = 6), sum(g.input_tokens + coalesce(s.fresh_input, 0)), sum(g.cached_input_tokens + coalesce(s.fresh_cached, 0)),
		sum(g.output_tokens + coalesce(s.fresh_output, 0)), sum(g.reasoning_tokens + coalesce(s.fresh_reasoning, 0)),
		sum(g.known_nanousd + coalesce(s.fresh_nanousd, 0)),
		count(*) filter (where (g.cost_nanousd is null or s.fresh_unknown) and s.old_unknown is not true)
	from gone g left join spent s on s.bucket = g.bucket and s.job_id = g.job_id
	where g.batch_id is not null
	group by g.bucket, g.batch_id
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, job_id, event, url)
	select bucket, millrace_id(bucket), tenant_id, job_id,
		case status when 3 then 'job.succeeded' when 4 then 'job.failed' when 5 then 'job.canceled' else 'job.expired' end, webhook_url
	from gone where webhook_url is not null
)
select n.place, g.job_id is not null as done,
	g.job_id is null and exists (select 1 from outcome o where o.bucket = n.bucket and o.job_id = n.job_id and o.token = n.token and o.worker_id = $51::uuid) as already
from input n left join gone g on g.bucket = n.bucket and g.job_id = n.job_id and g.token = n.token
