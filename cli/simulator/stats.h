/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the simulator saw: totals by model, key, status and tag, and the last STATS_CALLS calls as compact records, so
 * that a test can count the upstream calls of each of its jobs, see that a file arrived as it was sent, and find the
 * fullest minute. Memory is bounded: names beyond a limit are counted as "other"; files are kept of the last
 * STATS_FILE_CALLS calls only.
 */
#ifndef MR_CLI_SIMULATOR_STATS_H
#define MR_CLI_SIMULATOR_STATS_H

#include "common/crypto.h"
#include "common/hash.h"
#include "common/json.h"

#define STATS_CALLS      100000
#define STATS_FILE_CALLS 20000
#define STATS_FILES_MAX  32 /* per call; more are not recorded */
#define STATS_NAME_MAX   64

struct stats_count {
	uint64_t n, in_flight, peak_in_flight; /* the last two: of models only */
};

struct stats_counts {
	struct hash by_name; /* → struct stats_count, owned */
	size_t max;
};

/* A document or an image that came with a request, decoded. */
struct stats_file {
	char type[STATS_NAME_MAX]; /* media type */
	uint64_t bytes;
	uint8_t sha256[SHA256_LEN];
};

/* What is known of a call when its request is whole. All borrowed. */
struct stats_facts {
	struct str model, key, tag, body;
	const char *format; /* static text */
	const char *over;   /* the limit that it broke: "requests", "tokens", "in_flight"; or NULL. Static text */
	bool stream;
	int64_t at_ms; /* wall */
	int64_t input_tokens, output_tokens;
	const struct stats_file *files;
	size_t nfiles;
};

struct stats_call {
	uint64_t seq; /* 1, 2, …; 0: never used */
	int64_t at_ms, end_ms;
	int64_t input_tokens, output_tokens;
	uint64_t bytes;      /* of the answer's body */
	uint32_t body_bytes; /* of the request's body */
	uint16_t status;     /* 0: no answer yet, or none at all */
	bool ended, canceled, stream;
	const char *format, *over;
	uint8_t sha256[SHA256_LEN];
	struct stats_file *files; /* owned; NULL when there are none, or forgotten */
	size_t nfiles;
	const struct stats_count *count; /* of its model */
	char model[STATS_NAME_MAX], tag[STATS_NAME_MAX];
};

struct stats {
	uint64_t calls, in_flight, peak_in_flight, over_limit, seq;
	uint64_t by_status[600];
	struct stats_counts by_model, by_key, by_tag;
	struct stats_call *ring; /* owned; a place per sequence number modulo STATS_CALLS */
};

/* A call in flight. */
struct stats_ticket {
	uint64_t seq;
	struct stats_count *model; /* the statistics' */
};

void stats_init(struct stats *s);
void stats_done(struct stats *s);
void stats_reset(struct stats *s); /* calls in flight stay in flight */

/* One call began. The key is shown shortened. */
struct stats_ticket stats_begin(struct stats *s, const struct stats_facts *facts);
/* …and ended: status 0 when no head was sent. */
void stats_end(struct stats *s, struct stats_ticket t, int status, uint64_t bytes, bool canceled, int64_t wall_ms);

int stats_write(struct stats *s, struct buf *out);
/* The newest `limit` records with that tag (any, when p is NULL), oldest first. */
int stats_write_calls(struct stats *s, struct buf *out, size_t limit, struct str tag);

/* stats_windows.c: the most requests and tokens within any window of so many ms, and the most calls at once: of that
 * model, or (p NULL) in total and of each model. A window holds what came less than window_ms after its first call. */
int stats_write_windows(struct stats *s, struct buf *out, int64_t window_ms, struct str model);

#endif
