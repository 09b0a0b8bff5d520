-- SPDX-License-Identifier: Apache-2.0
-- What is beside the row of a batch whose lines stand in a file: in the transaction of its batch_accept, which wrote nothing when the key is another's.
-- $1 bucket $2 id $3 tenant $4 form of its lines $5 priority $6 endpoint $7 file $8 window in ms $9 window as given $10 metadata $11 prefix of the API key
-- $12 life of the output files in s $13 dry run $14 cost cap in nano-dollars.
insert into batch_file (bucket, id, tenant_id, form, priority, endpoint, input_file_id, window_ms, completion_window, metadata, key_prefix, output_expires_s,
	dry_run, max_cost_nanousd, expires_at)
select $1::int4, $2::uuid, $3::int8, $4::int2, $5::int2, $6::text, $7::uuid, $8::int8, $9::text, $10::text, $11::text, $12::int4, $13::bool, $14::int8,
	b.created_at + $8::int8 * interval '1 millisecond'
from batch b where b.bucket = $1::int4 and b.id = $2::uuid
on conflict (bucket, id) do nothing
returning id
