/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A claimed job in this worker's memory, from the claim to the end of its lease. It owns its arena, in which all that belongs to it
 * lives. Who ends it: execution.c, by record_end or record_give_back; both give up the lease in the database. After that, job_free.
 */
#ifndef MR_WORKER_JOB_H
#define MR_WORKER_JOB_H

#include "common/arena.h"
#include "common/conf.h"
#include "common/flow.h"
#include "common/id.h"
#include "common/json.h"
#include "common/loop.h"

struct assembly;
struct cache_write;
struct execution;
struct live;
struct worker;

enum job_kind { JOB_CHAT, JOB_EMBEDDINGS };
enum job_status { JOB_SCHEDULED, JOB_QUEUED, JOB_RUNNING, JOB_SUCCEEDED, JOB_FAILED, JOB_CANCELED, JOB_EXPIRED }; /* as in outcome.status */
enum served_level { LEVEL_PRIMARY, LEVEL_FALLBACK, LEVEL_CACHE, LEVEL_SEMANTIC_CACHE, LEVEL_STALE_CACHE, LEVEL_SIMPLE_MODEL, LEVEL_STATIC };
enum park_reason { PARK_SCHEDULED, PARK_RETRY, PARK_RATE_LIMIT, PARK_UNAVAILABLE, PARK_SHARED }; /* as in parked.reason */

#define FLAG_ESTIMATED 1 /* usage is estimated */
#define FLAG_PARTIAL   2 /* the answer is partial */
#define FLAG_SHARED    4 /* an identical job's answer, which was being made when this one came */
#define FLAG_LIMITED   8 /* of a response: it ended at the token limit or in a content filter */

enum job_form { JOB_FORM_FILE = 1, JOB_FORM_RESPONSE }; /* as job.form and batch.form, whose 1 is a batch that came as a file */

struct usage {
	int64_t input, cached_input, cache_write; /* tokens; cached and written are parts of input */
	int64_t output, reasoning;                /* reasoning is part of output */
};

/* One upstream call, as it will stand in table attempt. Lives in the job's arena. */
struct attempt_row {
	struct link link;        /* in job.unwritten */
	int number;              /* within the lease, from 1 */
	struct str target;
	int64_t started_us;      /* wall */
	int32_t first_token_ms;  /* -1: none came */
	int32_t total_ms;
	int http_status;         /* 0: none */
	const char *code;        /* "ok", or the class's name */
	struct str message;      /* p NULL: none */
	struct usage usage;
	int64_t cost_nanousd;    /* -1: unknown */
	struct conf_price price; /* pinned; -1: unknown */
	int flags;
	struct str next;         /* p NULL: none */
	struct str choice;       /* JSON: why this target; p NULL: there was one only */
};

/* The upstream call in flight, as live.c sees it. */
struct live_call {
	int number;                                       /* of the attempt in this lease */
	const struct assembly *(*so_far)(void *arg);      /* its text; NULL: none is in flight, or none that streams */
	void *arg;
};

/* How a job ends. */
struct job_end {
	enum job_status status;
	enum served_level level;
	struct str target;        /* who served, or was tried last; p NULL: none */
	const char *error_code;   /* NULL: none */
	struct str error_message; /* p NULL: none */
	int error_status;         /* HTTP status of the last attempt; 0: none */
	struct usage usage;       /* over all attempts of this lease */
	int64_t cost_nanousd;     /* -1: unknown */
	int64_t known_nanousd;    /* … and what is known of it: the batch counts that */
	int flags;
	struct str result;        /* JSON text; p NULL: none */
	struct cache_write *cache; /* to be kept for identical requests; NULL: not */
};

struct job {
	struct flow flow;
	struct link link;        /* in worker.jobs */
	struct arena arena;
	struct worker *worker;
	struct id id;
	int bucket;
	int64_t token, tenant_id;
	int64_t claimed_us;      /* the database's clock */
	uint64_t deadline_ms;    /* the job's own deadline on this process's steady clock */
	int lane, priority;
	int attempts;            /* upstream calls that count, over all leases */
	int interruptions, max_attempts;
	enum job_kind kind;
	int form;
	bool followed;           /* somebody follows its text: live.c writes chunks */
	struct live_call call;   /* live.c: whose text it is */
	struct live *live;       /* what is being written of it; NULL: nothing yet */
	struct str key_prefix, user, metadata; /* who sent it; metadata is a JSON object; p NULL: none */
	struct id batch_id;      /* zero: none */
	struct str route;
	struct str webhook_url;  /* p NULL: none */
	struct str body;         /* what the client sent; p NULL: it was erased */
	int64_t created_us;
	int number;              /* attempts made in this lease */
	struct list unwritten;   /* attempt_row: not yet in the database */
	struct job_end end;
	struct execution *execution; /* what execution.c needs */
	struct timer deadline;   /* cancels the flow with -ERR_EXPIRED */
};

void job_text(const struct job *j, char out[ID_TEXT_MAX]);
/* Unlinks it from the worker and frees it. No op of it may be in flight. */
void job_free(struct job *j);

#endif
