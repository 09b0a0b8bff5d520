-- SPDX-License-Identifier: Apache-2.0
-- Some lines of a batch's file become jobs, and the place in the file moves over them: both or neither, so that whoever goes on after a crash loses and
-- doubles nothing. Lines with a status (4 failed, 5 canceled, 6 expired) are written as ended and never run.
-- $1 bucket $2 batch $3 tenant $4 keeper $5 place before $6 place after $7 lease in ms; columns: $8 id $9 index $10 kind $11 priority $12 lane $13 route
-- $14 user $15 metadata $16 run_at $17 expires_at $18 webhook URL $19 body $20 pass $21 counted from $22 max_attempts $23 custom_id $24 estimate
-- and $25 bound in nano-dollars (or NULL) $26 status (0: it is to run) $27 error code $28 error message; $29 form $30 prefix of the API key
-- $31 the cost cap ended them.
-- Returns how many were written now, and whether that was done by an earlier sending: neither when the batch is another keeper's, or was canceled.
with moved as (
	update batch_file f set loaded = f.loaded + cardinality($8::uuid[]), loaded_at = $6::int8, capped = f.capped or $31::bool,
		keeper_until = now() + $7::int8 * interval '1 millisecond',
		stage = case when f.loaded + cardinality($8::uuid[]) >= b.total then 2 else 1 end,
		look_at = case when f.loaded + cardinality($8::uuid[]) >= b.total then now() + interval '1 minute' else f.look_at end
	from batch b
	where f.bucket = $1::int4 and f.id = $2::uuid and f.keeper = $4::uuid and f.stage = 1 and f.loaded_at = $5::int8
		and b.bucket = f.bucket and b.id = f.id and b.cancel_requested_at is null
	returning f.bucket
), input as materialized (
	select n.* from unnest($8::uuid[], $9::int4[], $10::int2[], $11::int2[], $12::int4[], $13::text[], $14::text[], $15::text[], $16::timestamptz[],
		$17::timestamptz[], $18::text[], $19::text[], $20::int8[], $21::int8[], $22::int2[], $23::text[], $24::int8[], $25::int8[], $26::int2[], $27::text[],
		$28::text[])
		as n(id, batch_index, kind, priority, lane, route, user_ref, metadata, run_at, expires_at, webhook_url, body, pass, counted_from, max_attempts,
			custom_id, estimate_nanousd, bound_nanousd, status, error_code, error_message)
	where exists (select 1 from moved)
), jobs as (
	insert into job (bucket, id, tenant_id, run_at, expires_at, batch_id, batch_index, lane, kind, priority, max_attempts, route, user_ref, metadata,
		webhook_url, key_prefix, form, custom_id, estimate_nanousd, bound_nanousd)
	select $1::int4, id, $3::int8, run_at, expires_at, $2::uuid, batch_index, lane, kind, priority, max_attempts, route, user_ref, metadata, webhook_url,
		$30::text, $29::int2, custom_id, estimate_nanousd, bound_nanousd
	from input
), bodies as (
	insert into payload (bucket, job_id, body) select $1::int4, id, body from input
), queued as (
	insert into ready (pass, tenant_id, token, expires_at, bucket, lane, job_id, priority)
	select i.pass + greatest(0, coalesce(l.floor, 0) - i.counted_from), $3::int8, 0, i.expires_at, $1::int4, i.lane, i.id, i.priority
	from input i left join lane_floor l on l.lane = i.lane and l.priority = i.priority
	where i.status = 0 and (i.run_at is null or i.run_at <= now())
), scheduled as (
	insert into parked (pass, tenant_id, token, expires_at, run_at, bucket, lane, job_id, priority, reason)
	select i.pass, $3::int8, 0, i.expires_at, i.run_at, $1::int4, i.lane, i.id, i.priority, 0
	from input i
	where i.status = 0 and i.run_at > now()
), ended as (
	insert into outcome (bucket, job_id, token, tenant_id, status, error_code, error_message, cost_nanousd)
	select $1::int4, id, 1, $3::int8, status, error_code, error_message, 0 from input where status <> 0
), counts as (
	insert into batch_delta (bucket, batch_id, failed, canceled, expired)
	select $1::int4, $2::uuid, count(*) filter (where status = 4), count(*) filter (where status = 5), count(*) filter (where status = 6)
	from input where status <> 0 having count(*) > 0
), deliveries as (
	insert into webhook_delivery (bucket, id, tenant_id, job_id, event, url)
	select $1::int4, millrace_id($1::int4), $3::int8, id, case status when 4 then 'job.failed' when 5 then 'job.canceled' else 'job.expired' end, webhook_url
	from input where status <> 0 and webhook_url is not null
)
select (select count(*) from input)::int4 as written,
	exists (select 1 from batch_file where bucket = $1::int4 and id = $2::uuid and loaded_at = $6::int8) as was
