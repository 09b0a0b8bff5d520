-- SPDX-License-Identifier: Apache-2.0
-- Sends hints to the workers ($1 channels $2 payloads) without waiting for the disk: a lost one costs a poll.
-- Touches no table, so it names neither bucket nor tenant_id.
with off as materialized (select set_config('synchronous_commit', 'off', true))
select pg_notify(n.channel, n.payload) from off, unnest($1::text[], $2::text[]) as n(channel, payload)
