/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of targets share: targets.c (records, gates, probes), targets_calls.c (what calls say), targets_report.c (what goes to the database and comes from it) and
 * targets_learn.c (latency, ratios).
 */
#ifndef MR_WORKER_TARGETS_TARGETS_PRIV_H
#define MR_WORKER_TARGETS_TARGETS_PRIV_H

#include "common/buf.h"
#include "worker/targets/breaker.h"
#include "worker/targets/targets.h"

#define TARGETS_MAX       4096 /* records of a process: clients choose the names of bare models */
#define TARGETS_REPORT_MAX 500 /* targets of one report */
#define REPORT_SOON_MS      20
#define REPORT_MS         1000
#define READ_MS           1000
#define READ_APART_MS       20 /* however many notices come */
#define FRESH_MS          5000 /* what was read of the fleet's calls counts for so long */
#define SLOT_MS          10000
#define SLOTS                7 /* this one and the minute before it */
#define MESSAGE_MAX        500
#define DETAIL_MAX        4096
#define PROBE_SPARE_MS   10000

/* What is to be reported, or is on its way. */
struct target_delta {
	int calls, failures, retries, answered;
	int64_t latency_ms, first_token_ms;
	struct breaker_run run;
	bool wants_open;         /* the rates say so, in generation wants_generation */
	int64_t wants_generation;
	int probe;               /* enum probe_word */
	int64_t probe_generation;
	uint64_t park_until_ms;  /* 0: no */
	bool disable, whole_key, limits;
};
enum probe_word { PROBE_NOTHING, PROBE_GOOD, PROBE_BAD, PROBE_NOT_MADE }; /* as in sql/target_report.sql */

/* As it stands in target_state, as far as known here. */
struct target_row {
	bool known;
	int admin;
	enum breaker_state breaker;
	int64_t generation;
	int fails_in_row;
	uint64_t reopen_ms, probe_until_ms; /* steady; probe_until_ms 0: nobody probes */
	uint64_t closed_ms;                 /* 0: never opened */
	int64_t calls, retries, first_token_ms, answered; /* over the last minute */
	struct breaker_window window;
};

enum admin_state { ADMIN_NORMAL, ADMIN_PAUSED, ADMIN_DRAINING }; /* as in target_state.admin */

enum probe_state {
	PROBE_NONE,
	PROBE_ASKED,     /* the database is being asked for the right */
	PROBE_HELD,      /* a call of this process is the fleet's probe */
	PROBE_LOCAL,     /* … this process's, while the fleet knows of no open breaker */
	PROBE_RETURNING, /* its end is on the way to the database */
};

#define OUTPUT_BUCKETS 64 /* four per doubling, from 1 to 65,536 tokens */

struct target_learned {
	double peak_ms, base_ms;  /* of first-token times: the last peak and the slow average; 0: none yet */
	uint64_t peak_at_ms;
	int64_t millibytes;       /* 0: nothing learned */
	uint32_t outputs[OUTPUT_BUCKETS], outputs_n;
};

struct target_live {
	struct targets *targets;
	char *name;               /* owned, NUL-terminated */
	char key_id[17];          /* of the configuration; "" until a job needs the target */
	char row_key_id[17];      /* of the row */
	int64_t total_ms;         /* its own timeout.total; 0: the global one */
	struct link dirty;        /* in targets.dirty: `pending` is not empty, or it is to be registered */
	struct link link;         /* in targets.all */
	bool met;                 /* a job needed it: key_id is known */
	bool to_register;
	bool row_seen;            /* in the read that is being taken over */
	int busy, busy_retries;
	struct target_row row;
	uint64_t applied;         /* targets.applied when `row` was read last */
	struct breaker_local local;
	struct target_delta pending, flying;
	struct { uint64_t slot; int calls, failures, retries; } slots[SLOTS]; /* this process's calls, for when the fleet's are not known */
	uint64_t parked_until_ms;
	uint64_t park_began_ms;   /* the last park: calls that began before it say no more about the limit */
	int limited_in_row, refused_in_row;
	enum err_code disabled;   /* the class that did it; ERR_OK: it is not */
	uint64_t key_since_ms;    /* calls that began before used another key */
	struct limit_headers limits;
	struct buf failure, park_detail, disable_detail, disable_why; /* texts for the next report */
	const char *park_why;     /* static */
	enum probe_state probe;
	int64_t probe_generation;
	uint64_t probe_lapses_ms;
	struct probe_op *asker;   /* of PROBE_ASKED; NULL when it was canceled */
	struct db_query ask;
	uint64_t ask_applied;
	struct target_learned learned;
};

enum targets_doing { DOING_NOTHING, DOING_READ, DOING_REGISTER, DOING_REPORT };

struct targets {
	struct worker *worker;
	struct hash by_name;
	struct list all, dirty;
	enum targets_doing doing; /* one statement at a time, so that what was counted is in exactly one place */
	struct db_query query;
	struct timer timer;
	uint64_t read_due_ms, report_due_ms, not_before_ms; /* 0: not wanted; not_before: after a failure */
	uint64_t last_read_ms;    /* 0: never */
	uint64_t applied, query_applied; /* answers taken over; that number when `query` was sent */
	int64_t report_no;
	bool report_again;        /* the last one's outcome is unknown: it goes again as it was */
	bool urgent;              /* something waits that should not be lost at the stop */
	int asking;               /* probe statements in flight */
	struct target_live **flight; /* owned array of those in the report in flight */
	size_t nflight;
};

/* targets.c */
struct target_live *targets_record(struct targets *t, struct str name); /* found or made; NULL when there are too many */
void target_dirty(struct target_live *l, uint64_t within_ms);
/* The fleet's word is known (row), and what it does not know yet is in `pending`: this process's own breaker gives way where it may. */
void target_heed_fleet(struct target_live *l, enum breaker_state was);

/* targets_calls.c */
void target_look_at_rates(struct target_live *l); /* opens here, and asks the fleet to, where they say so */
bool target_is_key_class(enum err_code class);    /* it stops all targets of the key */
void target_probe_over(struct target_live *l, enum breaker_word word); /* the probe ended, or was not made (SAYS_NOTHING) */

/* targets_report.c */
void targets_arm(struct targets *t);
bool targets_are_fresh(const struct targets *t); /* the fleet's counts were read not long ago */
void on_targets_timer(struct timer *timer);
void target_ask_probe(struct target_live *l);

/* targets_learn.c */
void target_learn(struct target_live *l, const struct target_call *call, uint64_t now_ms);

#endif
