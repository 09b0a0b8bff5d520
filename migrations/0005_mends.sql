-- SPDX-License-Identifier: Apache-2.0
-- What a receiver of webhooks that does not answer may hold up.

-- The receiver of a delivery: host and port of its URL, as they stand there. Deliveries that wait are found by receiver, so that one that takes long
-- does not stand before all others.
create function millrace_receiver(url text) returns text language sql immutable parallel safe as $$
	select lower(coalesce(substring(url from '^[A-Za-z]+://([^/?#]*)'), '?')) collate "C"
$$;
create index webhook_delivery_receiver on webhook_delivery (millrace_receiver(url), next_at) where next_at is not null;
