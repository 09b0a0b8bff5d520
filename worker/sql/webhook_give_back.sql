-- SPDX-License-Identifier: Apache-2.0
-- Gives back deliveries that were taken and not begun: due at once, their tries as they were. $1 buckets $2 ids $3 tokens, an element of each per delivery.
update webhook_delivery w set next_at = now()
from unnest($1::int4[], $2::uuid[], $3::int8[]) g(bucket, id, token)
where w.bucket = g.bucket and w.id = g.id and w.token = g.token and w.state = 0
