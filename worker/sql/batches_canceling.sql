-- SPDX-License-Identifier: Apache-2.0
-- Batches whose cancel was asked for and that have not ended: an api process that died in the middle leaves them so. At most $1, any of them: one that
-- takes long (its last job runs) may not stand before the others.
select bucket, id from batch where cancel_requested_at is not null and finished_at is null order by random() limit $1::int4
