/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the simulator: its root object and the life of a call. Not for other rooms. */
#ifndef MR_CLI_SIMULATOR_SIM_H
#define MR_CLI_SIMULATOR_SIM_H

#include "cli/simulator/answer.h"
#include "cli/simulator/script.h"
#include "cli/simulator/stats.h"
#include "common/http_server.h"
#include "common/loop.h"

struct sim {
	struct loop loop;
	struct http_server *server;
	struct script *script; /* one reference */
	struct stats stats;
	uint64_t id_state; /* for ids of answers */
	/* A window of one minute for the x-ratelimit headers; nothing is refused by it. */
	uint64_t window_ms;
	int64_t window_requests, window_tokens;
};

/* One call of the API. Lives in its request's arena; ends with the request. */
struct call {
	struct sim *sim;
	struct http_req *req;
	struct script *script; /* a reference */
	struct rule *rule;
	struct plan plan;
	struct timer timer;
	uint64_t seq;   /* in the statistics */
	struct buf out; /* owned: the body of the answer */
	int status;     /* of the answer in `out` */
	struct str type;
	bool is_stream, started;
	size_t head, tail; /* of a stream: where its text begins and ends in `out` */
	size_t at, limit;  /* sent so far, and where it ends or is cut */
	int64_t tokens;
};

/* call.c */
/* The request is whole: reads it, answers it now or later. `build` fills out for a good request. */
void call_start(struct sim *sim, struct http_req *req,
                int (*build)(struct call *c, const json_t *body, struct err *err),
                struct str (*tag)(const json_t *body));
void call_gone(struct call *c);

/* chat.c, embeddings.c: make c->out (and head, tail, type) for the body; on failure err is for the client. */
int chat_build(struct call *c, const json_t *body, struct err *err);
struct str chat_tag(const json_t *body);
int embeddings_build(struct call *c, const json_t *body, struct err *err);
struct str embeddings_tag(const json_t *body);

/* control.c: /_control… */
void control_get(struct sim *sim, struct http_req *req);
void control_post(struct sim *sim, struct http_req *req);
void control_stats(struct sim *sim, struct http_req *req);
void control_calls(struct sim *sim, struct http_req *req);
void control_stats_reset(struct sim *sim, struct http_req *req);

/* simulator.c */
void sim_reply_error(struct http_req *req, int status, const char *param, const char *code, struct str message);
/* "chatcmpl-" and 29 letters and digits, in the arena. */
const char *sim_answer_id(struct sim *sim, struct arena *a, const char *prefix);

#endif
