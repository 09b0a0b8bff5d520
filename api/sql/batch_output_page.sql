-- SPDX-License-Identifier: Apache-2.0
-- Ends of a batch's jobs in input order, for its output: those after line $4, at most $5, no more than some 1 MiB of text (one line always comes).
-- $1 bucket $2 batch $3 tenant. echo: what an answer has to repeat of its request; a chat's repeats nothing.
select page.* from (
	select j.*, sum(j.size) over (order by j.batch_index) - j.size as bytes_before
	from (select j.*, coalesce(octet_length(j.result), 0) + coalesce(octet_length(j.echo), 0) as size from (
		select j.id, j.batch_index, j.custom_id, j.route, j.user_ref, j.metadata, j.created_at, o.started_at, o.finished_at, o.status, o.error_code,
			o.error_message, o.error_status, o.flags, s.body as result,
			case when j.form > 1 and o.status = 3 then (select p.body::json -> 'echo' from payload p where p.bucket = j.bucket and p.job_id = j.id)::text end as echo
		from job j
		cross join lateral (select * from outcome o where o.bucket = j.bucket and o.job_id = j.id order by o.token desc limit 1) o
		left join result s on s.bucket = o.bucket and s.job_id = o.job_id and s.token = o.token
		where j.bucket = $1::int4 and j.batch_id = $2::uuid and j.tenant_id = $3::int8 and j.batch_index > $4::int4
		order by j.batch_index limit $5::int4
	) as j) as j
) as page
where page.bytes_before < 1048576
order by page.batch_index
