-- SPDX-License-Identifier: Apache-2.0
-- Milliseconds until the next delivery is due; no row when none waits.
select greatest(0, (extract(epoch from next_at - now()) * 1000))::int8 as ms
from webhook_delivery where next_at is not null order by next_at limit 1
