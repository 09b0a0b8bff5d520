-- SPDX-License-Identifier: Apache-2.0
-- The keeper goes on: its lease is longer, and it learns what happened meanwhile. No row: the batch is another's. $1 bucket $2 id $3 keeper $4 tenant $5 lease in ms.
update batch_file f set keeper_until = now() + $5::int8 * interval '1 millisecond'
from batch b
where f.bucket = $1::int4 and f.id = $2::uuid and f.keeper = $3::uuid and f.tenant_id = $4::int8 and b.bucket = f.bucket and b.id = f.id
returning f.expires_at <= now() as is_late, b.cancel_requested_at is not null as is_canceled
