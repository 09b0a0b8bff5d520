/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A provider's wire format: where it is spoken, how a request is read, how answers, streams, errors and headers are
 * written. What the model says, what goes wrong and when is decided elsewhere and is the same for all.
 *
 * To add a format: a file with one `const struct format`, its row in formats[] (format.c), its section in README.md.
 * All functions but add_headers and check are pure: no I/O, no clock. Bodies are bytes: a stream may be binary, as
 * long as event_len finds where an event ends.
 */
#ifndef MR_CLI_SIMULATOR_FORMAT_H
#define MR_CLI_SIMULATOR_FORMAT_H

#include "cli/simulator/answer.h"
#include "cli/simulator/chat.h"
#include "cli/simulator/script.h"

struct call;
struct http_req;

/* An error to be told. */
struct failure {
	enum error_class kind;
	int status;
	struct str message;       /* n 0: the format's own words for this kind */
	const char *param, *code; /* of a client's mistake, where the format has room for them; or NULL */
	int64_t retry_after;      /* seconds; -1: not told */
	struct str model, request_id;
};

/* How a format tells a kind of error. */
struct error_row {
	int status;
	const char *type, *code, *message; /* type and code as the format writes them, or NULL */
};

/* A limit as the rate-limit headers tell it. */
struct rate {
	int64_t limit, remaining;
	uint64_t reset_ms;
};

/* Where the text of a stream begins and ends in its bytes. */
struct stream_marks {
	size_t head, tail;
};

/* A path: any base, then `before`, the model's name and `after`; without `before` the body names the model. */
struct endpoint {
	const char *before, *after;
	bool stream; /* always answers with a stream */
	/* Reads the body and fills c->out (and marks, type) and c->facts; on failure err is for the client. */
	int (*build)(struct call *c, const json_t *body, struct err *err);
};

struct format {
	const char *name;
	const struct endpoint *endpoints;
	size_t nendpoints;
	const char *key_header;         /* the header with the key; a bearer token is good everywhere */
	const char *id_prefix;          /* of an answer's id */
	const char *tool_prefix;        /* of the id of a tool call */
	const char *stream_type;        /* content type of a stream */
	const struct error_row *errors; /* one per enum error_class */
	int64_t quota_day_retry;        /* seconds that quota_day tells when the rule does not */

	/* Reads the body; c is init'ed, with model, stream and alt as the path says. err's param names the field. */
	int (*read)(struct chat *c, const json_t *body, struct err *err);
	int (*write_answer)(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an);
	int (*write_stream)(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an,
	                    struct stream_marks *ret);
	/* Bytes of the first event; all of rest when its end is not there. */
	size_t (*event_len)(struct str rest);
	void (*write_error)(struct buf *b, const struct failure *f);
	/* The same in the middle of a stream, as the last event. */
	void (*write_stream_error)(struct buf *b, const struct failure *f);
	/* With http_reply_header: limits, ids, and of an error (c->failure.kind not ERROR_NONE) when to come again. */
	void (*add_headers)(struct call *c, const struct rate *requests, const struct rate *tokens);
	/* Whether the headers are as the provider wants them; NULL: any are. */
	int (*check)(const struct http_req *req, struct err *err);
};

extern const struct format format_openai, format_azure, format_anthropic, format_gemini, format_bedrock;

/* The endpoint of that path, or NULL; *ret_model is borrowed from path (empty when the body names it). */
const struct endpoint *format_find(struct str path, const struct format **ret, struct str *ret_model);
/* What a bare status means. */
enum error_class error_class_of(int status);
/* The body of a failure as the rule wants it: its error_body, else the format's own. Returns the content type. */
struct str format_write_failure(struct buf *b, const struct format *f, const struct rule *r, const struct failure *x);
/* Of server-sent events. */
size_t sse_event_len(struct str rest);
/* Starts an event: "event: NAME\ndata: " (name NULL: without); the caller ends it with two line ends. */
void sse_event(struct buf *b, const char *name);
/* The kind's row of the format, and f's message or the row's. */
const struct error_row *failure_row(const struct format *f, const struct failure *x);
struct str failure_message(const struct error_row *row, const struct failure *x);

#endif
