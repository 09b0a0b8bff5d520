-- SPDX-License-Identifier: Apache-2.0
-- The names of all tenants.
select id, name from tenant order by id
