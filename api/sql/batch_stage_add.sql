-- SPDX-License-Identifier: Apache-2.0
-- A group of lines of a batch whose body still arrives. Its number is its key: safe to send again. $1 bucket $2 batch $3 tenant $4 number; columns as
-- batch_accept_jobs takes them: $5 id $6 index $7 kind $8 priority $9 lane $10 route $11 user $12 metadata $13 run_at $14 expires_at $15 webhook URL $16 body
-- $17 pass $18 counted from $19 max_attempts $20 custom_id $21 estimate.
insert into batch_stage (bucket, batch_id, tenant_id, number, ids, indexes, kinds, priorities, lanes, routes, users, metadatas, run_ats, expires_ats,
	webhook_urls, bodies, passes, counted_froms, max_attempts, custom_ids, estimates)
values ($1::int4, $2::uuid, $3::int8, $4::int4, $5::uuid[], $6::int4[], $7::int2[], $8::int2[], $9::int4[], $10::text[], $11::text[], $12::text[],
	$13::timestamptz[], $14::timestamptz[], $15::text[], $16::text[], $17::int8[], $18::int8[], $19::int2[], $20::text[], $21::int8[])
on conflict (bucket, batch_id, number) do nothing
