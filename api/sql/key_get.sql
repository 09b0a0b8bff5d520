-- SPDX-License-Identifier: Apache-2.0
-- The key with this public prefix. $1 prefix.
select k.key_hash, k.tenant_id, k.is_admin, t.name, t.weight, t.webhook_secret,
	(k.revoked_at is not null or coalesce(k.expires_at <= now(), false)) as is_over
from api_key k join tenant t on t.id = k.tenant_id
where k.prefix = $1::text
