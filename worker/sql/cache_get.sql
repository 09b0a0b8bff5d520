-- SPDX-License-Identifier: Apache-2.0
-- Answers that are kept for these keys, past their ttl where asked for ($3). $1 bucket $2 key $3 stale too. Returns place (from 1), body and target.
select i.place, e.body, e.target
from unnest($1::int4[], $2::bytea[], $3::bool[]) with ordinality as i(bucket, key, stale, place)
join cache_entry e on e.bucket = i.bucket and e.key = i.key
where case when i.stale then e.stale_until else e.expires_at end > now()
