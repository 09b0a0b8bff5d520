-- SPDX-License-Identifier: Apache-2.0
-- Whether this program's schema is there: the newest migration. Names neither bucket nor tenant_id: it is about the database itself.
select coalesce(max(number), 0)::int4 from millrace_migration
