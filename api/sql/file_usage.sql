-- SPDX-License-Identifier: Apache-2.0
-- Bytes of all files of a tenant and of its unfinished uploads. $1 tenant.
select (coalesce((select sum(bytes) from file where tenant_id = $1::int8), 0)
	+ coalesce((select sum(bytes) from upload where tenant_id = $1::int8 and status = 0), 0))::int8 as bytes
