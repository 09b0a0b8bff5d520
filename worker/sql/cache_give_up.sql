-- SPDX-License-Identifier: Apache-2.0
-- Ends flights whose jobs will not bring the answer. $1 bucket $2 key $3 job $4 token.
delete from cache_flight
where (bucket, key, job_id, token) in (select * from unnest($1::int4[], $2::bytea[], $3::uuid[], $4::int8[]))
