/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event streams of this process that wait for news: one query for all of them, at a notice and every events.poll. It also sees to it that their jobs
 * are marked as followed, again after each claim or give-back that lost the mark. A follower embeds in its owner and completes as an op when its
 * job has ended.
 */
#ifndef MR_API_EVENTS_FOLLOWERS_H
#define MR_API_EVENTS_FOLLOWERS_H

#include "api/events/event_place.h"
#include "common/flow.h"
#include "common/list.h"

struct api;
struct followers;

/* How a job stands. */
struct follow_state {
	int status, attempts, reason; /* as in job_facts; reason -1: none */
};

struct follower {
	struct op op;      /* completes with 0: the job has ended; -ERR_CANCELED; -ERR_DRAINING */
	struct link link;
	struct followers *all;
	struct id id;
	int64_t tenant_id;
	struct event_place place;
	/* Called when something is known; told comes after each series of the others. They may not end the follower. */
	void (*on_state)(struct follower *f, const struct follow_state *s);
	void (*on_piece)(struct follower *f, int64_t token, int number, int seq, struct str deltas);
	void (*on_told)(struct follower *f);
	bool rests;        /* the client does not read: nothing is asked for it meanwhile */
	bool marked;       /* the job is marked as followed, as far as is known; may be set before the start */
	bool patient;      /* goes on while the process drains, until followers_stop */
	/* private */
	int asked;         /* its place in the query in flight; -1: none */
	bool running;      /* as last seen: it runs and is marked */
	uint64_t mark_ms, mark_gap_ms, look_ms; /* when to mark, and to look at its state, at the earliest */
};

struct followers *followers_new(struct api *api);
void followers_free(struct followers *all); /* nobody may follow */
/* There is no room for one more (events.followers). */
bool followers_are_full(const struct followers *all);
void follower_start(struct followers *all, struct follower *f, struct flow *flow);
/* The client reads again. */
void follower_reads(struct follower *f);
/* Notices. */
void followers_hint_text(struct followers *all);
void followers_hint_done(struct followers *all);
/* Ends all of them now but the patient ones, and each that comes later at once: the process shuts down. */
void followers_drain(struct followers *all);
/* Ends all. */
void followers_stop(struct followers *all);

#endif
