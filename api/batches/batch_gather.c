/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   files ─▶ previous
 * as for a synchronous call (sync.c). What is not there is the line's fault; a database that fails is not.
 */
#include "api/batches/batch_gather.h"

#include "api/api.h"
#include "api/sync/responses.h"

static struct batch_gather *gather_of(struct flow *f)
{
	return container_of(f, struct batch_gather, flow);
}

static enum flow_next blame(struct batch_gather *g, const struct err *err)
{
	return flow_fail(&g->flow, batch_line_blame(err, &g->fault));
}

static enum flow_next files_start(struct flow *f)
{
	struct batch_gather *g = gather_of(f);
	if (!file_parts_has(g->r->request))
		return FLOW_NEXT;
	file_parts_start(&g->parts, g->api, g->tenant_id, g->r->request, "", f);
	return FLOW_WAIT;
}

static enum flow_next files_done(struct flow *f, int rc)
{
	struct batch_gather *g = gather_of(f);
	if (rc >= 0)
		return FLOW_NEXT;
	if (g->parts.err.code == ERR_OK || err_is_retryable((int)g->parts.err.code))
		return flow_fail(f, rc);
	return blame(g, &g->parts.err);
}

static enum flow_next previous_start(struct flow *f)
{
	struct batch_gather *g = gather_of(f);
	struct err err = { 0 };
	if (!g->r->previous.p)
		return FLOW_NEXT;
	if (responses_previous_query(&g->query, g->tenant_id, g->r, &err) < 0)
		return blame(g, &err);
	int rc = api_query_start(g->api, &g->query, f);
	return rc < 0 ? flow_fail(f, rc) : FLOW_WAIT;
}

static enum flow_next previous_done(struct flow *f, int rc)
{
	struct batch_gather *g = gather_of(f);
	struct err err = { 0 };
	if (rc < 0)
		return flow_fail(f, rc);
	return responses_previous_take(&g->query, g->r, &err) < 0 ? blame(g, &err) : FLOW_NEXT;
}

static const struct flow_step steps[] = {
	{ "files", files_start, files_done },
	{ "previous", previous_start, previous_done },
	{ .name = NULL },
};

static void on_end(struct flow *f, int result)
{
	op_done(&gather_of(f)->op, result);
}

static void on_cancel(struct op *op)
{
	flow_cancel(&container_of(op, struct batch_gather, op)->flow, -(int)ERR_CANCELED);
}

bool batch_gather_has(const struct face_request *r)
{
	return r->previous.p || file_parts_has(r->request);
}

void batch_gather_start(struct batch_gather *g, struct api *api, int64_t tenant_id, struct face_request *r, struct flow *flow)
{
	*g = (struct batch_gather){ .api = api, .tenant_id = tenant_id, .r = r };
	op_start(&g->op, flow, "what a line of a batch names", on_cancel);
	flow_start(&g->flow, "batch_gather", steps, on_end);
}

void batch_gather_done(struct batch_gather *g)
{
	assert(!g->op.active);
	file_parts_done(&g->parts);
	db_query_done(&g->query);
}
