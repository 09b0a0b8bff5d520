-- SPDX-License-Identifier: Apache-2.0
-- Why a lane is not claimed from now, for those who ask about its waiting jobs. $1 lane $2 reason (as parked.reason) $3 ms until that may end (NULL: unknown).
insert into lane_wait (lane, reason, until, at)
values ($1::int4, $2::int2, now() + $3::int8 * interval '1 millisecond', now())
on conflict (lane) do update set reason = excluded.reason, until = excluded.until, at = excluded.at
where lane_wait.at < now() - interval '500 milliseconds'
