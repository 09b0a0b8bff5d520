-- SPDX-License-Identifier: Apache-2.0
-- Milliseconds until the next parked job is due (at least 0); no row when none is parked.
select greatest(0, (extract(epoch from run_at - now()) * 1000))::int8 as ms from parked order by run_at limit 1
