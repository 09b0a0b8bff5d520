-- SPDX-License-Identifier: Apache-2.0
-- Keeps one try and sets what comes next, where the delivery still carries the token. $1 bucket $2 id $3 token $4 number of the try
-- $5 state (0 pending, 1 delivered, 2 dead) $6 ms until the next try (NULL: none) $7 duration in ms $8 HTTP status $9 error $10 response.
with held as (
	update webhook_delivery set tries = $4::int2, state = $5::int2, next_at = now() + $6::int8 * interval '1 millisecond'
	where bucket = $1::int4 and id = $2::uuid and token = $3::int8
	returning bucket, id
)
insert into webhook_try (bucket, delivery_id, number, duration_ms, http_status, error, response)
select bucket, id, $4::int2, $7::int4, $8::int2, $9::text, $10::text from held
on conflict (bucket, delivery_id, number) do nothing
