-- SPDX-License-Identifier: Apache-2.0
-- Text of followed jobs: one row per job. Sent again after a lost answer it writes nothing twice. The table is unlogged, so the commit waits for no disk.
-- $1 bucket $2 job $3 token $4 attempt in the lease $5 seq $6 deltas.
insert into chunk (bucket, job_id, token, number, seq, deltas)
select * from unnest($1::int4[], $2::uuid[], $3::int8[], $4::int4[], $5::int4[], $6::text[]) as n(bucket, job_id, token, number, seq, deltas)
order by bucket, job_id, token, number, seq
on conflict do nothing
