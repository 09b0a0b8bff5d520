-- SPDX-License-Identifier: Apache-2.0
-- First statement of a transaction that gives an upload one more part: of one upload only one goes on at a time, so that the next statement, whose snapshot
-- is newer, sees all parts that were made before. $1 bucket $2 upload $3 tenant.
select 1 from upload where bucket = $1::int4 and id = $2::uuid and tenant_id = $3::int8 for no key update
