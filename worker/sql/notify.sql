-- SPDX-License-Identifier: Apache-2.0
-- Sends a notice without waiting for the disk: it is a hint. $1 channel $2 payload.
select set_config('synchronous_commit', 'off', true), pg_notify($1::text, $2::text)
