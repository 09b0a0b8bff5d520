-- SPDX-License-Identifier: Apache-2.0
-- Counts hits of some seconds. $1 bucket $2 key $3 how many. Sent again it counts twice: the number is for people.
update cache_entry e set hits = e.hits + n.hits, hit_at = now()
from (select * from unnest($1::int4[], $2::bytea[], $3::int8[]) as n(bucket, key, hits) order by bucket, key) n
where e.bucket = n.bucket and e.key = n.key
