-- SPDX-License-Identifier: Apache-2.0
-- For each key: the answer that is kept, or else whether this job gets it for all: its flight is written where there is none, or where the one that is
-- there has ended without an answer (its time is over, or its job's lease is gone). Sent again it says the same. A leader looks once more before it calls
-- (cache_get): the answer may have been committed after this statement's snapshot.
-- $1 bucket $2 key $3 job's bucket $4 job $5 token; $6 ms a flight may take. Returns place (from 1), body, target, leads.
with input as materialized (
	select * from unnest($1::int4[], $2::bytea[], $3::int4[], $4::uuid[], $5::int8[]) with ordinality as i(bucket, key, job_bucket, job_id, token, place)
), found as materialized (
	select i.place, e.body, e.target
	from input i join cache_entry e on e.bucket = i.bucket and e.key = i.key
	where e.expires_at > now()
), led as (
	insert into cache_flight as f (bucket, key, job_bucket, job_id, token, until)
	select bucket, key, job_bucket, job_id, token, now() + $6::int8 * interval '1 millisecond'
	from input where place not in (select place from found)
	order by bucket, key
	on conflict (bucket, key) do update
		set job_bucket = excluded.job_bucket, job_id = excluded.job_id, token = excluded.token, until = excluded.until
		where f.until < now() or (f.job_id = excluded.job_id and f.token = excluded.token)
			or not exists (select 1 from lease l where l.bucket = f.job_bucket and l.job_id = f.job_id and l.token = f.token)
	returning f.key
)
select i.place, f.body, f.target, exists (select 1 from led l where l.key = i.key) as leads
from input i left join found f on f.place = i.place
