-- SPDX-License-Identifier: Apache-2.0
-- Bytes of a blob from a place on, of one chunk, at most so many. $1 bucket $2 blob $3 place $4 bytes.
-- The chunk that holds the place is the last that begins at or before it. No row, or an empty one: the blob ends before, or is being deleted.
select substring(c.data from ($3::int8 - c.at + 1)::int4 for $4::int4) as data
from blob_chunk c
where c.bucket = $1::int4 and c.blob_id = $2::uuid and c.at <= $3::int8
order by c.at desc
limit 1
