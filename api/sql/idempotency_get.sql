-- SPDX-License-Identifier: Apache-2.0
-- Whose keys these are: one row per key that is in use. $1 bucket $2 tenant $3 key.
select i.bucket, i.tenant_id, i.key, i.fingerprint, i.object_kind, i.object_id, i.status
from unnest($1::int4[], $2::int8[], $3::text[]) as n(bucket, tenant_id, key)
join idempotency i on i.bucket = n.bucket and i.tenant_id = n.tenant_id and i.key = n.key
where i.expires_at > now()
