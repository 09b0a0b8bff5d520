-- SPDX-License-Identifier: Apache-2.0
-- Mends: what a receiver of webhooks that does not answer may hold up; what outlives the api process that it belongs to.

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
