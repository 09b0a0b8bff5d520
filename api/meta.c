/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /healthz says that the process turns its loop; it never asks the database, so that an outage there does not make a
 * supervisor restart the api. /readyz says whether requests can be served: the database answers, its schema is the one
 * this program was built for, and the process is not shutting down. /metrics is for the operator's key.
 */
#include "api/meta.h"

#include "api/request.h"
#include "common/metrics.h"

static enum flow_next health_start(struct flow *f)
{
	struct request *q = request_of(f);
	buf_add_z(&q->out, "{\"status\":\"ok\",\"version\":\"" MR_VERSION "\"}\n");
	return request_answer(q, 200);
}

const struct flow_step meta_health_steps[] = {
	{ "health", health_start, NULL },
	{ .name = NULL },
};

static enum flow_next ready_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct api *api = q->api;
	const char *why = api->draining        ? "draining"
	                  : !db_is_up(api->db) ? "database"
	                  : !api->schema_ok    ? "schema"
	                                       : NULL;
	if (!why)
		buf_add_z(&q->out, "{\"status\":\"ready\"}\n");
	else
		buf_printf(&q->out, "{\"status\":\"not_ready\",\"waiting_for\":\"%s\"}\n", why);
	return request_answer(q, why ? 503 : 200);
}

const struct flow_step meta_ready_steps[] = {
	{ "ready", ready_start, NULL },
	{ .name = NULL },
};

static enum flow_next metrics_start(struct flow *f)
{
	struct request *q = request_of(f);
	metric_set(METRIC_HTTP_CONNS, "", (int64_t)http_server_connections(q->api->server));
	metrics_write(&q->out);
	q->content_type = STR("text/plain; version=0.0.4; charset=utf-8");
	return request_answer(q, 200);
}

const struct flow_step meta_metrics_steps[] = {
	{ "metrics", metrics_start, NULL },
	{ .name = NULL },
};
