-- SPDX-License-Identifier: Apache-2.0
-- A page of cached answers in the order of their keys, without the answers. $1 tenant's name $2 route $3 after this key $4 how many $5 only this key; NULL:
-- not asked for.
select e.key, e.route, e.target, t.name as tenant, e.namespace, octet_length(e.body)::int8 as size, e.created_at, e.expires_at, e.stale_until, e.hits,
	e.hit_at, e.cost_nanousd, case when $5::bytea is not null then e.body end as body
from cache_entry e
left join tenant t on t.id = e.tenant_id
where ($1::text is null or e.tenant_id = (select id from tenant where name = $1::text))
	and ($2::text is null or e.route = $2::text)
	and ($3::bytea is null or (e.bucket, e.key) > (millrace_key_bucket($3::bytea), $3::bytea))
	and ($5::bytea is null or (e.bucket = millrace_key_bucket($5::bytea) and e.key = $5::bytea))
	and e.stale_until > now()
order by e.bucket, e.key
limit $4::int4
