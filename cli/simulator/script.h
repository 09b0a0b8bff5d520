/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the simulated provider behaves, per model: {"models": {"gpt-*": {"latency_ms": 200, "fail_first": 2,
 * "error_status": 503}}}. A model's rule is the one with its exact name, else the longest pattern that matches (* any
 * text, ? one byte), else "*"; rules do not add up. A script is immutable but for the counters of its rules; a merge
 * makes a new one, and calls in flight keep theirs.
 *
 * Which calls fail: those chosen by status_sequence, fail_first, every or error_rate; all, when a fault is set and none
 * of these is. How they fail: by hang, cut_before_head, garbage, cut_after_bytes or stream_error when one is set; else
 * with error_class, error_status (also 200 and others that are no error: a wrong body under a good status) and
 * error_body.
 */
#ifndef MR_CLI_SIMULATOR_SCRIPT_H
#define MR_CLI_SIMULATOR_SCRIPT_H

#include "common/json.h"

#define SCRIPT_RULES_MAX    256
#define SCRIPT_SEQUENCE_MAX 64

enum garbage { GARBAGE_NONE, GARBAGE_JSON, GARBAGE_SSE };

/* Kinds of errors that every format has a form for. */
enum error_class {
	ERROR_NONE,
	ERROR_RATE_LIMIT,
	ERROR_OVERLOADED,
	ERROR_AUTH,
	ERROR_BILLING,
	ERROR_PERMISSION,
	ERROR_NOT_FOUND,
	ERROR_CONTEXT_WINDOW,
	ERROR_CONTENT_FILTER,
	ERROR_BAD_REQUEST,
	ERROR_TOO_LARGE,
	ERROR_SERVER_ERROR,
	ERROR_QUOTA_DAY,
	ERROR_TIMEOUT,
	ERROR_TOO_LARGE_FOR_LIMIT, /* one request is more than a whole minute may hold */
	ERROR_CLASSES
};

struct rule {
	const char *pattern;    /* the script's */
	int64_t latency_ms;     /* before the head of the answer */
	int64_t first_token_ms; /* a stream: from its head to the first text; else added to latency_ms */
	int64_t between_ms;     /* between the pieces of a stream */
	int64_t jitter_ms;      /* 0..jitter_ms is added to latency_ms and first_token_ms, evenly */
	double error_rate;
	int64_t seed;
	enum error_class error_class; /* ERROR_NONE: as the status says */
	int64_t error_status;         /* 0: the format's for the class */
	const json_t *error_body;     /* "openai" (default), "html", "empty", another text, or JSON */
	int64_t fail_first, every;
	int64_t cut_after_bytes; /* -1: no */
	bool rst;                /* cuts by RST instead of FIN */
	bool cut_before_head, hang;
	enum garbage garbage;
	enum error_class stream_error;    /* ERROR_NONE: no */
	int64_t stream_error_bytes;       /* the first event's end from there on; -1: after the first text */
	const char *stream_error_message; /* NULL: the format's */
	int64_t retry_after;              /* seconds; -1: not sent */
	bool no_usage, echo, unknown;
	const json_t *headers; /* an object of texts */
	const char *answer, *finish_reason;
	bool tool_call;
	const char *thinking;
	int64_t cached_tokens;
	const json_t *usage;                 /* an object */
	const json_t *raw_body, *raw_stream; /* a text, or {"base64": text} */
	const json_t *require_key;           /* true: any; a text: that one */
	int64_t slow_bytes_per_s;
	int64_t chunk_bytes;                      /* of text per chunk of a stream; 0: all in one */
	int64_t limit_requests, limit_tokens;     /* for the x-ratelimit headers, per minute */
	int64_t enforce_requests, enforce_tokens; /* per sliding minute; -1: not enforced */
	int64_t max_in_flight;                    /* -1: any */
	int64_t status_sequence[SCRIPT_SEQUENCE_MAX];
	size_t nsequence;
	bool chosen_by_rule; /* one of the four choosers is set */
	bool has_fault;
	/* counters */
	uint64_t calls, random;
};

struct script {
	int refs;
	json_t *source;     /* owned: what /_control answers */
	struct rule *rules; /* owned; the last is the default */
	size_t nrules;
};

/* What one call is to suffer. */
enum fault { FAULT_NONE, FAULT_STATUS, FAULT_HANG, FAULT_NO_HEAD, FAULT_GARBAGE, FAULT_CUT, FAULT_STREAM_ERROR };
struct plan {
	enum fault fault;
	int status;         /* of FAULT_STATUS; 0: the format's for the class */
	uint64_t before_ms; /* until the head */
	uint64_t first_ms;  /* until the first text of a stream */
};

struct script *script_new(void);
/* *s becomes the merge of itself and the patch ({"models": {name: {field: value, or null to take it away}}, "reset":
 * true}). Counters of rules that the patch does not name go on. On failure *s is untouched and err says where. */
int script_merge(struct script **s, const json_t *patch, struct err *err);
struct script *script_ref(struct script *s);
void script_unref(struct script *s);
/* Never NULL. */
struct rule *script_match(struct script *s, struct str model);
/* Counts the call and says what becomes of it. */
void rule_decide(struct rule *r, struct plan *ret);

/* "rate_limit", "overloaded", …; ERROR_NONE when there is no such word. */
enum error_class error_class_from(struct str word);

bool glob_matches(struct str pattern, struct str text);

#endif
