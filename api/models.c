/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models are what the configuration names: routes first, then targets. A name that is both is a route. `created` is when the configuration's file was
 * changed last: the same in every process that reads it. Clients that speak Anthropic's API (header anthropic-version) get their form.
 */
#include "api/models.h"

#include <sys/stat.h>

#include "api/jobs/job_object.h"
#include "api/request.h"
#include "common/clock.h"
#include "common/conf.h"

struct models {
	struct request *q;
	bool anthropic;
	int64_t created_s;
};

static struct models models_of(struct request *q)
{
	struct stat st = { 0 };
	const struct conf *conf = conf_now();
	if (conf->file.n)
		(void)stat(arena_strz(&q->http->arena, conf->file), &st);
	return (struct models){ q, http_req_header(q->http, "anthropic-version").p != NULL, (int64_t)st.st_mtime };
}

static void write_model(const struct models *m, struct str name, struct str owner)
{
	struct buf *b = &m->q->out;
	buf_add_z(b, m->anthropic ? "{\"type\":\"model\",\"id\":" : "{\"id\":");
	buf_add_json_str(b, name);
	if (m->anthropic) {
		buf_add_z(b, ",\"display_name\":");
		buf_add_json_str(b, name);
		buf_add_z(b, ",\"created_at\":\"");
		clock_rfc3339(b, m->created_s * 1000000);
		buf_add_z(b, "\"}");
		return;
	}
	buf_printf(b, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":", (long long)m->created_s);
	buf_add_json_str(b, owner);
	buf_add_char(b, '}');
}

static bool is_route(const struct conf *c, struct str name)
{
	for (size_t i = 0; i < c->nroutes; i++)
		if (str_eq(c->routes[i].name, name))
			return true;
	return false;
}

static enum flow_next list_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct conf *c = conf_now();
	struct models m = models_of(q);
	struct str first = { 0 }, last = { 0 };
	buf_add_z(&q->out, m.anthropic ? "{\"data\":[" : "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < c->nroutes + c->ntargets; i++) {
		const struct conf_target *t = i < c->nroutes ? NULL : &c->targets[i - c->nroutes];
		struct str name = t ? t->name : c->routes[i].name;
		if (t && is_route(c, name))
			continue;
		if (last.p)
			buf_add_char(&q->out, ',');
		write_model(&m, name, t ? t->provider : STR("millrace"));
		first = first.p ? first : name;
		last = name;
	}
	buf_add_char(&q->out, ']');
	if (m.anthropic) {
		buf_add_z(&q->out, ",\"has_more\":false,\"first_id\":");
		job_object_text(&q->out, first);
		buf_add_z(&q->out, ",\"last_id\":");
		job_object_text(&q->out, last);
	}
	buf_add_char(&q->out, '}');
	return request_answer(q, 200);
}

const struct flow_step models_list_steps[] = {
	{ "list", list_start, NULL },
	{ .name = NULL },
};

static enum flow_next get_start(struct flow *f)
{
	struct request *q = request_of(f);
	const struct conf *c = conf_now();
	const struct conf_route *r = conf_route_find(c, &q->http->arena, q->name);
	if (!r) {
		err_set(&q->err, ERR_NOT_FOUND, "there is no route or model " STR_FMT, STR_ARG(str_sub(q->name, 0, 100)));
		return request_refuse(q);
	}
	struct models m = models_of(q);
	write_model(&m, q->name, is_route(c, q->name) || r->ntargets == 0 ? STR("millrace") : r->targets[0]->provider);
	return request_answer(q, 200);
}

const struct flow_step models_get_steps[] = {
	{ "get", get_start, NULL },
	{ .name = NULL },
};
