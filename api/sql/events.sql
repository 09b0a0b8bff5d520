-- SPDX-License-Identifier: Apache-2.0
-- News of the jobs that clients of this process follow: for each place in the arrays the pieces of text after (token, number, seq), at most $9 of them,
-- and where `look` is true how the job stands. No row for one without either. A job stands in exactly one table, so one snapshot tells its state.
-- "offset 0" keeps the look-ups by key: joined freely, the planner may read all jobs to find a few.
-- $1 place $2 bucket $3 job $4 tenant $5 look $6 token $7 number $8 seq
select n.place, s.status, s.attempts, s.reason, s.token, s.followed, c.token, c.number, c.seq, c.deltas
from unnest($1::int4[], $2::int4[], $3::uuid[], $4::int8[], $5::bool[], $6::int8[], $7::int4[], $8::int4[])
	as n(place, bucket, job_id, tenant_id, look, token, number, seq)
left join lateral (
	select case when l.job_id is not null then 2 when r.job_id is not null then 1
			when p.job_id is not null then case when p.reason = 0 then 0 else 1 end
			else o.status end::int2 as status,
		coalesce(l.attempts, r.attempts, p.attempts, o.attempts, 0)::int2 as attempts, coalesce(p.reason, w.reason) as reason,
		coalesce(l.token, r.token, p.token, o.token, 0) as token, coalesce(l.followed, r.followed, p.followed, true) as followed
	from (select 1) as one
	left join lease l on l.bucket = n.bucket and l.job_id = n.job_id
	left join ready r on r.bucket = n.bucket and r.job_id = n.job_id
	left join parked p on p.bucket = n.bucket and p.job_id = n.job_id
	left join lane_wait w on w.lane = r.lane and w.at > now() - interval '5 seconds'
	left join lateral (
		select o.status, o.attempts, o.token from outcome o
		where o.bucket = n.bucket and o.job_id = n.job_id and o.tenant_id = n.tenant_id
			and l.job_id is null and r.job_id is null and p.job_id is null
		order by o.token desc limit 1
	) o on true
	where n.look
	offset 0
) s on true
left join lateral (
	select c.token, c.number, c.seq, c.deltas from chunk c
	where c.bucket = n.bucket and c.job_id = n.job_id and (c.token, c.number, c.seq) > (n.token, n.number, n.seq)
	order by c.token, c.number, c.seq
	limit $9::int4
) c on true
where s.status is not null or c.seq is not null
order by n.place, c.token, c.number, c.seq
