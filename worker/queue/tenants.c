/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A map from id to name, filled by one statement that reads them all: at the start, every minute, and when somebody asks for an id that is not there (at
 * most once a second: an id that does not exist is asked for again and again). Names are kept until the process ends, because a name never
 * changes and those who asked hold on to it. While the database is away what was read goes on to serve.
 */
#include "worker/queue/tenants.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "sql_worker.h"
#include "worker/queue/lease.h"

#define EVERY_MS 60000
#define AGAIN_MS 1000

struct tenants {
	struct worker *worker;
	struct hash names;      /* the id's eight bytes → struct name, owned */
	struct db_query query;
	struct timer timer;
	bool reading;
	uint64_t read_ms;       /* when the last reading began; 0: never */
};

struct name {
	size_t n;
	char p[];
};

static struct str key_of(const int64_t *id)
{
	return (struct str){ (const char *)id, sizeof *id };
}

static void on_read(struct op *op, int rc)
{
	struct tenants *t = container_of(container_of(op, struct db_query, op), struct tenants, query);
	t->reading = false;
	if (rc < 0 && rc != -ERR_DRAINING && leases_are_good(t->worker->leases)) /* else heartbeat_failed says it */
		log_event(LOG_WARN, "tenants_failed", t->query.err.text, LOG_END);
	for (int row = 0; rc == 0 && row < db_rows(&t->query); row++) {
		int64_t id = db_get_int(&t->query, row, 0);
		struct str text = db_get_str(&t->query, row, 1);
		if (hash_get(&t->names, key_of(&id)))
			continue;
		struct name *name = malloc(sizeof *name + text.n + 1);
		assert(name);
		name->n = text.n;
		memcpy(name->p, text.p, text.n);
		name->p[text.n] = '\0';
		hash_set(&t->names, key_of(&id), name);
	}
	db_query_done(&t->query);
	timer_start(&t->timer, rc == 0 ? EVERY_MS : AGAIN_MS);
}

static void read_all(struct tenants *t)
{
	db_query_init(&t->query, &sql_worker_tenants);
	t->query.op.on_done = on_read;
	t->read_ms = loop_now_ms(t->worker->loop);
	t->reading = db_query_start(t->worker->db, &t->query, NULL) == 0;
	if (t->reading)
		return;
	db_query_done(&t->query);
	timer_start(&t->timer, AGAIN_MS);
}

static void on_timer(struct timer *timer)
{
	struct tenants *t = container_of(timer, struct tenants, timer);
	if (!t->reading && t->worker->state != WORKER_STOPPED)
		read_all(t);
}

struct str tenant_name(struct tenants *t, int64_t id)
{
	const struct name *name = hash_get(&t->names, key_of(&id));
	if (name)
		return (struct str){ name->p, name->n };
	uint64_t now = loop_now_ms(t->worker->loop), next = t->read_ms ? t->read_ms + AGAIN_MS : now;
	if (!t->reading && (!timer_is_armed(&t->timer) || t->timer.due_ms > MAX(next, now)))
		timer_start(&t->timer, next > now ? next - now : 0);
	return (struct str){ NULL, 0 };
}

bool tenants_are_idle(const struct tenants *t)
{
	return !t->reading;
}

struct tenants *tenants_new(struct worker *w)
{
	struct tenants *t = calloc(1, sizeof *t);
	assert(t);
	t->worker = w;
	hash_init(&t->names);
	timer_init(&t->timer, w->loop, on_timer);
	timer_start(&t->timer, 0);
	return t;
}

void tenants_free(struct tenants *t)
{
	if (!t)
		return;
	assert(!t->reading);
	timer_stop(&t->timer);
	size_t at = 0;
	struct str key;
	void *value;
	while (hash_next(&t->names, &at, &key, &value))
		free(value);
	hash_done(&t->names);
	free(t);
}
