-- SPDX-License-Identifier: Apache-2.0
-- First statement of a transaction that gives a tenant more bytes: of one tenant only one goes on at a time, so that the next statement, whose snapshot is
-- newer, sees what the one before made. Other tenants, and what only names the tenant, do not wait. $1 tenant.
select 1 from tenant where id = $1::int8 for no key update
