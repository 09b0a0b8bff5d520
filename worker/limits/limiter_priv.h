/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the limiter share: limiter.c (takes, waiters, settling), limiter_ask.c (which limits a call needs), limiter_tick.c (the statement).
 *
 *   limiter.groups  "target:NAME", "user:7/alice" ──▶ limit_group ──▶ up to five struct limit, one for each kind that is limited
 *   limit.waiters   those for whom this limit is in the way, first come first; every other limit they need is looked at when this one lets them go
 *   limiter.active  limits of which something may have to be told to the table, or asked
 */
#ifndef MR_WORKER_LIMITS_LIMITER_PRIV_H
#define MR_WORKER_LIMITS_LIMITER_PRIV_H

#include "common/conf.h"
#include "common/db/db.h"
#include "worker/limits/limit_bucket.h"
#include "worker/limits/limiter.h"

enum limit_kind { LIMIT_REQUESTS, LIMIT_TOKENS, LIMIT_INPUT, LIMIT_OUTPUT, LIMIT_CALLS, LIMIT_KINDS };

#define LIMIT_SCOPES       (SCOPE_COUNT + 1) /* those of conf_scope, and the target's */
#define LIMIT_SCOPE_TARGET SCOPE_COUNT
#define LIMIT_GROUP_KEY    184 /* with the longest kind's name a key has 200 bytes at most */
#define LIMIT_ASKED_MAX    512 /* limits in one statement */

struct limit_group {
	int scope;
	int refs;                /* needs of tickets, waiters */
	uint64_t used_ms;
	struct limit *limits[LIMIT_KINDS]; /* owned; NULL: never limited since it is here */
	struct str name;         /* as conf_tier_find or the configuration's targets know it; owned by `bytes` */
	struct str key;
	char bytes[];
};

struct limit {
	struct limit_group *group;
	enum limit_kind kind;
	int64_t cap;             /* per minute, or calls at once; 0: no more limited */
	struct link active;      /* in limiter.active */
	struct list waiters;     /* struct limit_op.link, by seq */
	struct limit_bucket bucket;

	int64_t held, in_use;    /* calls: that the table knows of; that are out. in_use > held after this worker was declared dead */
	int64_t peak;            /* of in_use since peak_ms */
	uint64_t peak_ms;
	double call_ms;          /* how long calls last, about */
	int64_t longest_ms;      /* how long a call of those that came may last */
	int64_t told_ms;         /* what the table knows of that: a call that may last longer does not begin before */

	int64_t spent;           /* since rate_ms */
	uint64_t rate_ms;
	double per_ms;           /* spent, about */
	double typical;          /* amount of one call, when has_typical */
	bool has_typical;        /* a call was let through */

	int64_t wish;            /* that limiter_room was asked for */
	uint64_t wish_until_ms;
	int64_t pending;         /* that waiters of other limits will want next: as the last tick found */
	int64_t lower;           /* what the provider said is left; -1: nothing new */

	bool short_of;           /* since it was asked for last, somebody wanted more than was here */
	uint64_t got_all_ms;     /* when the last answer came and gave all that was asked for; 0: it gave less */
	bool asked;              /* it is in the statement that is out */
	int64_t sent_want, sent_need, sent_owed, sent_lower, sent_longest_ms;
	uint64_t next_ask_ms;    /* no use to ask before */
	uint64_t keep_until_ms;  /* what is here will be used soon: not given back before */
	uint64_t free_at_ms;     /* when the table may have some, as it said */
	int64_t available;       /* what the table had left when it was last asked */
	uint64_t promised_ms;    /* up to when its capacity was promised to those who were told to come later */
};

struct limiter {
	struct worker *worker;
	struct hash groups;      /* key → struct limit_group, owned */
	struct list active;
	struct list strangers;   /* waiters whose tenant's name is not known yet */
	struct conf *conf;       /* the snapshot by which caps were set; referenced */
	struct soon serve;
	struct timer tick_timer, stranger_timer, prune_timer;
	struct db_query take, prune;
	bool asking, pruning, draining;
	uint64_t seq;            /* of waiters */
	size_t waiting;
	int64_t statement_seq;
	struct id as;            /* the worker id under which calls are held */
	struct id asked_as;
	unsigned life;           /* one more with each change of `as`: calls of an earlier one hold nothing any more */
	struct id was;           /* the id before */
	int64_t was_out;         /* its permits that are out; when all its calls are over, the table is told */
	bool was_held, leaving;
	struct db_query leave;
	uint64_t sent_ms;
	uint64_t not_before_ms;  /* the next statement */
	bool made_rows;          /* the last answer lacked rows: they were just made */
	struct limit *asked[LIMIT_ASKED_MAX];
	size_t nasked;
	int64_t workers;         /* alive, as the table said */
};

/* --- limiter_ask.c --- */

/* Fills t with what ask needs (nothing is taken). False: the tenant's name is not known yet. */
bool limiter_needs(struct limiter *l, const struct limit_ask *ask, struct limit_ticket *t);
/* The target's group with its caps as they are now; NULL without limits. */
struct limit_group *limiter_target_group(struct limiter *l, const struct conf_target *target);
/* After a reload: all caps as the new configuration has them. */
void limiter_refresh(struct limiter *l);
/* Frees the groups that were not used for a minute. all: every one. */
void limiter_sweep(struct limiter *l, bool all);
const char *limit_which(const struct limit *k); /* "the target's requests per minute" */
const char *limit_label(const struct limit *k); /* "target.requests" */
void limit_key(const struct limit *k, struct buf *b);

/* --- limiter.c --- */

/* Of calls: how many may begin. */
int64_t limit_left(struct limit *k, uint64_t now_ms);
/* Lets go who can, in order. */
void limit_serve(struct limiter *l, struct limit *k);
/* What those in its queue need, at most `most` of them looked at. */
int64_t limit_queued(const struct limit *k, size_t most);

/* --- limiter_tick.c --- */

/* When this worker was declared dead and is another one now: it holds nothing. Before any permit is counted on. */
void limiter_become(struct limiter *l);
/* A permit of an earlier life is no more in use. */
void limiter_left_behind(struct limiter *l, unsigned life);
/* Somebody wanted more of k than is here. */
void limiter_lacks(struct limiter *l, struct limit *k);
/* Something of k changed: it may have to be asked for, or told. */
void limiter_touch(struct limiter *l, struct limit *k);
void limiter_tick_init(struct limiter *l);
void limiter_tick_done(struct limiter *l);
bool limiter_has_to_tell(struct limiter *l);

#endif
