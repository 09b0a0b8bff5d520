-- SPDX-License-Identifier: Apache-2.0
-- Virtual time of every lane and priority that was ever claimed from.
select lane, priority, floor from lane_floor
