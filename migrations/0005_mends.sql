-- SPDX-License-Identifier: Apache-2.0
-- Mends: what a receiver of webhooks that does not answer may hold up; what outlives the api process that it belongs to; what a job will likely cost.

-- The receiver of a delivery: host and port of its URL, as they stand there. Deliveries that wait are found by receiver, so that one that takes long
-- does not stand before all others.
create function millrace_receiver(url text) returns text language sql immutable parallel safe as $$
	select lower(coalesce(substring(url from '^[A-Za-z]+://([^/?#]*)'), '?')) collate "C"
$$;
create index webhook_delivery_receiver on webhook_delivery (millrace_receiver(url), next_at) where next_at is not null;

-- One row per api process and boot, as `worker` has them: so the others can tell that it is gone.
create table api_process (
	id         uuid primary key,
	host       text not null,
	pid        int not null,
	boot       text,                        -- as in worker
	started_at timestamptz not null default now(),
	beat_at    timestamptz not null default now(),
	state      smallint not null default 0, -- 0 live, 2 gone in peace, 3 declared gone
	swept      int not null default 0       -- of one that is gone: in the buckets before this one no job waits for it any more
) with (fillfactor = 50);

-- The api process whose client waits for the job's answer, where nobody else can come for it: no Idempotency-Key, not in the background. The job is
-- canceled when that process is gone. NULL: it is kept, whatever becomes of the process.
alter table job add column awaited_by uuid;

-- Jobs whose request and answer may not be kept (`store` is false): erased when they have ended and nobody waits for the answer any more.
create table unstored (
	bucket    int not null,
	job_id    uuid not null,
	tenant_id bigint not null,
	look_at   timestamptz not null,         -- not to be erased before
	primary key (bucket, job_id)
);
create index unstored_look on unstored (look_at);

-- Lines of a batch whose body still arrives, a group a row, as the columns that batch_accept_jobs takes of them. Nobody sees them: the transaction that makes
-- the batch takes them out, or whoever brought them drops them, or the sweep when that died. Not logged: a crash of the database empties it, and a batch
-- whose groups are not all there is not made.
create unlogged table batch_stage (
	bucket     int not null,
	batch_id   uuid not null,
	number     int not null,
	tenant_id  bigint not null,
	written_at timestamptz not null default now(),
	ids        uuid[] not null,
	indexes    int[] not null,
	kinds      smallint[] not null,
	priorities smallint[] not null,
	lanes      int[] not null,
	routes     text[] not null,
	users      text[] not null,
	metadatas  text[] not null,
	run_ats    timestamptz[] not null,
	expires_ats timestamptz[] not null,
	webhook_urls text[] not null,
	bodies     text[] not null,
	passes     bigint[] not null,
	counted_froms bigint[] not null,
	max_attempts smallint[] not null,
	custom_ids text[] not null,
	estimates  bigint[] not null,
	primary key (bucket, batch_id, number)
);
alter table batch_stage alter column bodies set storage external; -- read once, soon

-- A batch as its readers see it: with what was not folded into its counts yet, and what it has beside when it came as a file (else NULL).
create view batch_now as
select b.id, b.total, b.errors, b.error_count, b.created_at, b.finished_at, b.cancel_requested_at, b.webhook_url,
	(b.succeeded + d.succeeded)::int4 as succeeded, (b.failed + d.failed)::int4 as failed, (b.canceled + d.canceled)::int4 as canceled,
	(b.expired + d.expired)::int4 as expired, now() as read_at,
	(select count(*) from lease l join job j on j.bucket = l.bucket and j.id = l.job_id
		where l.bucket = b.bucket and l.tenant_id = b.tenant_id and j.batch_id = b.id)::int4 as running, b.form,
	(b.input_tokens + d.input_tokens)::int8 as input_tokens, (b.cached_input_tokens + d.cached_input_tokens)::int8 as cached_input_tokens,
	(b.output_tokens + d.output_tokens)::int8 as output_tokens, (b.reasoning_tokens + d.reasoning_tokens)::int8 as reasoning_tokens,
	(b.cost_nanousd + d.cost_nanousd)::int8 as cost_nanousd, (b.cost_unknown + d.cost_unknown)::int4 as cost_unknown,
	f.stage, f.endpoint, f.input_file_id, f.completion_window, f.metadata, f.model, f.priority, f.dry_run, f.max_cost_nanousd, f.estimate_nanousd,
	f.estimate_input_tokens, f.capped, f.loaded, f.in_progress_at, f.finalizing_at, f.ended_at, f.ending, f.expires_at, f.output_file_id, f.error_file_id,
	b.bucket, b.tenant_id
from batch b left join batch_file f on f.bucket = b.bucket and f.id = b.id
cross join lateral (
	select coalesce(sum(succeeded), 0) as succeeded, coalesce(sum(failed), 0) as failed, coalesce(sum(canceled), 0) as canceled,
		coalesce(sum(expired), 0) as expired, coalesce(sum(input_tokens), 0) as input_tokens, coalesce(sum(cached_input_tokens), 0) as cached_input_tokens,
		coalesce(sum(output_tokens), 0) as output_tokens, coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
		coalesce(sum(cost_nanousd), 0) as cost_nanousd, coalesce(sum(cost_unknown), 0) as cost_unknown
	from batch_delta where bucket = b.bucket and batch_id = b.id
) d;

-- What one call for it was likely to cost when it came, at the price of its route's first target. NULL: not known.
alter table job add column estimate_nanousd bigint;
