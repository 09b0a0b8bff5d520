-- SPDX-License-Identifier: Apache-2.0
-- Api processes of this boot ($1) that were not heard of for a second: the caller looks whether they are there. At most 100, the longest silent first.
select id, pid from api_process
where boot = $1::text and state = 0 and beat_at < now() - interval '1 second'
order by beat_at limit 100
