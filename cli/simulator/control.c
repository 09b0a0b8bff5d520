/* SPDX-License-Identifier: Apache-2.0 */
/* /_control: the script of a running simulator, and what it saw. For tests; whoever reaches the port may use it. */
#include "cli/simulator/sim.h"

#define CALLS_DEFAULT 1000

static void reply_json(struct http_req *req, int status, struct buf *b)
{
	if (buf_failed(b))
		sim_reply_error(req, 500, NULL, NULL, STR("The answer is too large."));
	else
		http_reply(req, status, STR("application/json"), buf_str(b));
	buf_done(b);
}

void control_get(struct sim *sim, struct http_req *req)
{
	struct buf b;
	buf_init(&b, 64u << 20);
	json_write(&b, sim->script->source);
	reply_json(req, 200, &b);
}

void control_post(struct sim *sim, struct http_req *req)
{
	struct err err = { .code = ERR_OK };
	_cleanup_(json_drop) json_t *patch = json_parse(req->body, &err);
	if (!patch || script_merge(&sim->script, patch, &err) < 0)
		sim_reply_error(req, 400, err.param, err_code_name((int)err.code), str_from(err.text));
	else
		control_get(sim, req);
}

void control_stats(struct sim *sim, struct http_req *req)
{
	struct buf b;
	buf_init(&b, 64u << 20);
	stats_write(&sim->stats, &b);
	reply_json(req, 200, &b);
}

void control_calls(struct sim *sim, struct http_req *req)
{
	struct str text, tag = { NULL, 0 };
	uint64_t limit = CALLS_DEFAULT;
	struct buf b;
	http_req_query(req, "tag", &tag);
	if (http_req_query(req, "limit", &text) && str_u64(text, 1, STATS_CALLS, &limit) < 0) {
		sim_reply_error(req, 400, "limit", NULL, STR("limit: wanted 1 to 100000"));
		return;
	}
	buf_init(&b, 128u << 20);
	stats_write_calls(&sim->stats, &b, (size_t)limit, tag);
	reply_json(req, 200, &b);
}

void control_windows(struct sim *sim, struct http_req *req)
{
	struct str text, model = { NULL, 0 };
	uint64_t seconds = 60;
	struct buf b;
	http_req_query(req, "model", &model);
	if (http_req_query(req, "seconds", &text) && str_u64(text, 1, 86400, &seconds) < 0) {
		sim_reply_error(req, 400, "seconds", NULL, STR("seconds: wanted 1 to 86400"));
		return;
	}
	buf_init(&b, 1u << 20);
	stats_write_windows(&sim->stats, &b, (int64_t)seconds * 1000, model);
	reply_json(req, 200, &b);
}

void control_stats_reset(struct sim *sim, struct http_req *req)
{
	stats_reset(&sim->stats);
	http_reply(req, 200, STR("application/json"), STR("{}"));
}
