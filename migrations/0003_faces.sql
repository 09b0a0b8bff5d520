-- SPDX-License-Identifier: Apache-2.0
-- The faces: files and uploads, batches that come as a file, and what a job keeps of the form it came in. migrations/README.md explains the tables.

-- job.form: in whose form the job came and its answer goes out: 0 native, 1 chat completion, 2 response, 3 embeddings, 4 completion, 5 Anthropic message.
-- The payload's body is always the native one; what the answer has to repeat of the request stands in its member `echo`.
alter table job add column custom_id text;            -- the client's name of a line of a batch
alter table job add column bound_nanousd bigint;      -- what it costs at most, where its batch has a cap; NULL: not reckoned

-- Bytes that were uploaded, in pieces; what they are is said by file or upload_part, which share the bucket. Never updated but for `state` and `bytes`.
create table blob (
	bucket     int not null,
	id         uuid not null,
	tenant_id  bigint not null,
	bytes      bigint not null default 0,   -- once it is whole
	state      smallint not null default 0, -- 0 being written, 1 whole, 2 dropped: the sweep deletes it with its pieces
	written_at timestamptz not null default now(), -- a sign of life of its writer, at least once a minute while bytes come; or when it was dropped
	primary key (bucket, id)
);
create index blob_loose on blob (state, written_at) where state <> 1;

create table blob_chunk (
	bucket  int not null,
	blob_id uuid not null,
	at      bigint not null,                -- place of the first byte in the blob
	data    bytea not null,                 -- at most 1 MiB
	primary key (bucket, blob_id, at)
);
alter table blob_chunk alter column data set storage external; -- parts of it are read by substring, and documents are compressed already

create table file (
	bucket     int not null,
	id         uuid not null,
	tenant_id  bigint not null,
	purpose    text not null,
	filename   text not null,
	mime_type  text,                        -- as the client said; NULL: it did not
	bytes      bigint not null,
	blobs      uuid[] not null,             -- its content, in order
	created_at timestamptz not null default now(),
	expires_at timestamptz,                 -- NULL: never
	primary key (bucket, id)
);
create index file_tenant on file (tenant_id, id) include (bytes);
create index file_expires on file (expires_at) where expires_at is not null;

-- An upload in parts that becomes a file.
create table upload (
	bucket     int not null,
	id         uuid not null,
	tenant_id  bigint not null,
	purpose    text not null,
	filename   text not null,
	mime_type  text not null,
	bytes      bigint not null,             -- as announced: the parts must sum up to it
	expires_after_s int,                    -- of the file; NULL: the purpose's default
	status     smallint not null default 0, -- 0 pending, 1 completed, 2 cancelled (one that is past expires_at is expired)
	file_id    uuid,
	created_at timestamptz not null default now(),
	expires_at timestamptz not null,
	primary key (bucket, id)
) with (fillfactor = 80);
create index upload_tenant on upload (tenant_id, id);
create index upload_expires on upload (expires_at);

create table upload_part (
	bucket     int not null,
	upload_id  uuid not null,
	blob_id    uuid not null,               -- names the part, too
	bytes      bigint not null,
	created_at timestamptz not null default now(),
	primary key (bucket, upload_id, blob_id)
);

-- idempotency.object_kind also: 2 file, 3 upload.

-- A batch whose lines stand in a file. Beside its row in `batch`, which counts as for any batch: total is 0 until the file is validated.
-- One api process at a time keeps it (keeper, until keeper_until): it validates, makes the lines jobs, and writes the output when they have ended.
create table batch_file (
	bucket          int not null,
	id              uuid not null,          -- the batch
	tenant_id       bigint not null,
	form            smallint not null,      -- of its lines, as job.form
	stage           smallint not null default 0, -- 0 validating, 1 loading: lines become jobs, 2 running: all are, 3 finalizing, 4 over, 5 failed
	priority        smallint not null default 4, -- of lines that do not say
	endpoint        text not null,
	input_file_id   uuid not null,
	window_ms       bigint not null,        -- completion_window
	completion_window text not null,        -- as it was given
	metadata        text,                   -- JSON object
	model           text,                   -- of all lines; NULL: they differ, or it is not known yet
	key_prefix      text,                   -- of the API key that made it: its jobs' too
	output_expires_s int,                   -- of the output files; NULL: the default of batch_output
	dry_run         boolean not null default false, -- it ends when it is validated
	max_cost_nanousd bigint,                -- what its jobs may cost together; NULL: no cap
	estimate_nanousd bigint,                -- what validation reckons that it costs; NULL: some price is unknown
	estimate_input_tokens bigint,
	loaded          int not null default 0, -- lines that are jobs
	loaded_at       bigint not null default 0, -- the byte of the file after them
	capped          boolean not null default false, -- the cap kept the other lines from becoming jobs that run
	keeper          uuid,                   -- of api processes
	keeper_until    timestamptz,
	look_at         timestamptz default now(), -- when a keeper should look next; NULL: it is over
	in_progress_at  timestamptz,
	finalizing_at   timestamptz,
	ended_at        timestamptz,            -- completed, failed, expired or cancelled, as `ending` says
	ending          text,                   -- completed, failed, expired, cancelled
	expires_at      timestamptz not null,
	output_file_id  uuid,
	error_file_id   uuid,
	primary key (bucket, id)
) with (fillfactor = 70);
create index batch_file_look on batch_file (look_at) where look_at is not null;
create index batch_file_input on batch_file (input_file_id) where look_at is not null; -- such a file stays

-- What the jobs of a batch used, counted with their ends. cost_unknown: so many of them have no known cost.
alter table batch add column input_tokens bigint not null default 0;
alter table batch add column cached_input_tokens bigint not null default 0;
alter table batch add column output_tokens bigint not null default 0;
alter table batch add column reasoning_tokens bigint not null default 0;
alter table batch add column cost_nanousd bigint not null default 0;
alter table batch add column cost_unknown int not null default 0;
alter table batch add column form smallint not null default 0; -- 0 native, 1 OpenAI's: there is a batch_file, 5 Anthropic's
create index batch_messages on batch (tenant_id, id) where form = 5; -- they have a list of their own
alter table batch_delta add column input_tokens bigint not null default 0;
alter table batch_delta add column cached_input_tokens bigint not null default 0;
alter table batch_delta add column output_tokens bigint not null default 0;
alter table batch_delta add column reasoning_tokens bigint not null default 0;
alter table batch_delta add column cost_nanousd bigint not null default 0;
alter table batch_delta add column cost_unknown int not null default 0;
