-- SPDX-License-Identifier: Apache-2.0
-- Calls in flight of a worker that was killed, frozen or cut off are counted until they can no longer be at the provider.

alter table limit_hold add column call_ms bigint not null default 60000; -- how long a call may last that is made under it

-- Which boot and namespace its pid belongs to: another worker of the same can see whether the process is there. NULL: unknown.
alter table worker add column boot text;

-- What other workers hold of a limit. A worker that is silent for silent_ms begins no calls any more (its lease is over); what it began before may be at
-- the provider for call_ms from then on: nobody can tell one that was killed from one that is frozen. Volatile, so that it sees what was written
-- before the caller got the lock of the limit's bucket.
create or replace function millrace_limit_held(key text, me uuid, silent_ms bigint) returns bigint language sql volatile as $$
	select coalesce(sum(h.held), 0)::bigint from limit_hold h join worker w on w.id = h.worker_id
	where h.key = millrace_limit_held.key and h.worker_id <> me and h.held > 0
		and w.state in (0, 1, 3) and w.beat_at > now() - (silent_ms + h.call_ms) * interval '1 millisecond'
$$;
