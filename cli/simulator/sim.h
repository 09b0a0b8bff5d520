/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the simulator: its root object and the life of a call. Not for other rooms. */
#ifndef MR_CLI_SIMULATOR_SIM_H
#define MR_CLI_SIMULATOR_SIM_H

#include "cli/simulator/format.h"
#include "cli/simulator/meter.h"
#include "cli/simulator/stats.h"
#include "common/http/http_server.h"
#include "common/loop.h"

struct sim {
	struct loop loop;
	struct http_server *server;
	struct script *script; /* one reference */
	struct stats stats;
	struct meters meters;
	uint64_t id_state; /* for ids of answers */
	/* A window of one minute for the rate-limit headers of rules that enforce nothing. */
	uint64_t window_ms;
	int64_t window_requests, window_tokens;
};

/* One call of the API. Lives in its request's arena; ends with the request. */
struct call {
	struct sim *sim;
	struct http_req *req;
	const struct format *format;
	const struct endpoint *endpoint;
	struct str model;      /* of the path or the body */
	struct script *script; /* a reference */
	struct rule *rule;
	struct plan plan;
	struct failure failure; /* kind ERROR_NONE: a good answer */
	struct meter *meter;    /* NULL: the rule enforces nothing, or the call was not let in */
	struct stats_facts facts;
	struct stats_ticket ticket;
	struct timer timer;
	struct buf out; /* owned: the body of the answer */
	int status;     /* of the answer in `out` */
	struct str type;
	bool is_stream, started;
	struct stream_marks marks;
	size_t at, limit; /* sent so far, and where it ends or is cut */
};

/* call.c */
/* The request is whole: reads it, answers it now or later. */
void call_start(struct sim *sim, struct http_req *req, const struct format *format, const struct endpoint *endpoint,
                struct str model);
void call_gone(struct call *c);
/* For add_headers of formats: the time since the request came; the header retry-after where the failure has one. */
int64_t call_age_ms(const struct call *c);
void call_add_retry_after(struct call *c);

/* The build functions of endpoints. generate.c: what a chat model says. embeddings.c: OpenAI's embeddings. */
int chat_build(struct call *c, const json_t *body, struct err *err);
int embeddings_build(struct call *c, const json_t *body, struct err *err);

/* embeddings.c, for all formats */
#define DIMENSIONS_MAX 4096
/* Adds the vector of a text as a JSON list, or as a text in base64. dimensions is at most DIMENSIONS_MAX. */
void embedding_write(struct buf *b, struct str text, size_t dimensions, bool base64);
size_t embedding_dimensions(struct str model); /* when the request names none */

/* control.c: /_control… */
void control_get(struct sim *sim, struct http_req *req);
void control_post(struct sim *sim, struct http_req *req);
void control_stats(struct sim *sim, struct http_req *req);
void control_calls(struct sim *sim, struct http_req *req);
void control_windows(struct sim *sim, struct http_req *req);
void control_stats_reset(struct sim *sim, struct http_req *req);

/* simulator.c */
/* In OpenAI's form: for what belongs to no format. */
void sim_reply_error(struct http_req *req, int status, const char *param, const char *code, struct str message);
/* The prefix and 29 letters and digits, in the arena. */
const char *sim_answer_id(struct sim *sim, struct arena *a, const char *prefix);

#endif
