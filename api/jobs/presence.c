/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One statement does it all: it makes the row, keeps it alive, and takes back that somebody declared this process gone (it was frozen, or the database was
 * out of its reach): the jobs that were canceled then are lost to their clients, those that come after are not. Nothing waits for it; what fails is sent
 * again a little later.
 */
#include "api/jobs/presence.h"

#include <stdlib.h>
#include <unistd.h>

#include "api/api.h"
#include "common/boot.h"
#include "common/conf.h"
#include "sql_api.h"

#define AGAIN_MS    200
#define FAREWELL_MS 1000

enum { LIVE = 0, GONE_IN_PEACE = 2 }; /* as api_process.state */

struct presence {
	struct api *api;
	struct timer timer;
	struct db_query query;
	bool known, leaving, stopped; /* leaving: the farewell was sent */
	void (*left)(void *arg);      /* NULL: it stays */
	void *left_arg;
};

static void on_said(struct op *op, int rc)
{
	struct presence *p = container_of(op, struct presence, query.op);
	db_query_done(&p->query);
	p->known |= rc == 0;
	/* The end of the process does not begin within an answer of its database. */
	if (!p->stopped)
		timer_start(&p->timer, p->left ? 0 : rc == 0 ? (uint64_t)conf_now()->queue_heartbeat_ms : AGAIN_MS);
}

static void say(struct presence *p, int state)
{
	char host[128] = "", boot[BOOT_TEXT_MAX];
	gethostname(host, sizeof host - 1);
	db_query_init(&p->query, &sql_api_presence);
	db_arg_id(&p->query.args, p->api->id);
	db_arg_text(&p->query.args, str_from(host));
	db_arg_i32(&p->query.args, (int32_t)getpid());
	db_arg_text_or_null(&p->query.args, boot_text(boot));
	db_arg_i16(&p->query.args, (int16_t)state);
	p->query.op.on_done = on_said;
	p->query.retry_ms = state == LIVE ? 0 : FAREWELL_MS;
	int rc = api_query_start(p->api, &p->query, NULL);
	if (rc < 0)
		on_said(&p->query.op, rc);
}

static void leave(struct presence *p)
{
	if (p->known && !p->leaving) {
		p->leaving = true;
		say(p, GONE_IN_PEACE);
		return;
	}
	p->stopped = true;
	p->left(p->left_arg);
}

static void on_time(struct timer *t)
{
	struct presence *p = container_of(t, struct presence, timer);
	if (p->left)
		leave(p);
	else
		say(p, LIVE);
}

void presence_begin(struct presence *p)
{
	if (!p->stopped && !p->left && !p->query.op.active && !timer_is_armed(&p->timer))
		timer_start(&p->timer, 0);
}

void presence_leave(struct presence *p, void (*done)(void *arg), void *arg)
{
	assert(!p->left);
	p->left = done;
	p->left_arg = arg;
	if (!p->query.op.active)
		timer_start(&p->timer, 0);
}

void presence_stop(struct presence *p)
{
	p->stopped = true;
	timer_stop(&p->timer);
}

struct presence *presence_new(struct api *api)
{
	struct presence *p = calloc(1, sizeof(*p));
	assert(p);
	p->api = api;
	timer_init(&p->timer, &api->loop, on_time);
	return p;
}

void presence_free(struct presence *p)
{
	if (!p)
		return;
	assert(!p->query.op.active);
	timer_stop(&p->timer);
	free(p);
}
