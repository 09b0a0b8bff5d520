/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a call: admission under two limits, address, curl, end. All is well: a call takes a place of its host, then one of the
 * client's, waits for the host's addresses (usually known), runs on a shard and completes with the next turn of the loop. Each
 * state has one list and one set of counters; http_call_move is the only place that changes them.
 *
 * What goes wrong: cancel, deadlines and failures in any state end in http_call_finish, which takes the call out of curl at
 * once and completes it later, exactly once. One timer per call stands at the nearest deadline and looks again when it fires, so that bytes
 * arriving cost no timer work. Nobody's code runs inside curl: the pieces for on_data and all completions come after it returned.
 */
#include "common/http/http_client_priv.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/http/netguard.h"

#define CONNECT_MS 5000
#define IDLE_CONNECTION_MS 60000
#define HEAD_MAX (64u << 10)
#define BODY_MAX (16u << 20)

static void on_pump(struct soon *s);

/* The one mover: list membership and the places taken follow from the state. */
static void call_move(struct http_call *c, enum call_state to)
{
	struct http_client *client = c->client;
	struct http_host *h = c->host;

	switch ((enum call_state)c->state) {
	case CALL_WAITING:
		list_remove(&h->waiting, &c->link);
		break;
	case CALL_READY:
		list_remove(&client->ready, &c->link);
		h->admitted--;
		break;
	case CALL_RESOLVING:
		list_remove(&h->resolving, &c->link);
		h->admitted--;
		client->running--;
		break;
	case CALL_RUNNING:
		h->admitted--;
		client->running--;
		break;
	case CALL_IDLE:
	case CALL_ENDED:
		break;
	}
	c->state = (int)to;
	switch (to) {
	case CALL_WAITING:
		list_push(&h->waiting, &c->link);
		c->op.waiting_for = "its turn for the host";
		break;
	case CALL_READY:
		list_push(&client->ready, &c->link);
		h->admitted++;
		c->op.waiting_for = "a free connection";
		break;
	case CALL_RESOLVING:
		list_push(&h->resolving, &c->link);
		h->admitted++;
		client->running++;
		c->op.waiting_for = "the host's address";
		break;
	case CALL_RUNNING:
		h->admitted++;
		client->running++;
		c->op.waiting_for = "the answer";
		break;
	case CALL_IDLE:
	case CALL_ENDED:
		break;
	}
}

static void on_finished(struct soon *s)
{
	struct http_call *c = container_of(s, struct http_call, soon);

	assert(c->client->live > 0);
	c->client->live--;
	op_done(&c->op, c->rc);
}

void http_call_finish(struct http_call *c, int rc)
{
	struct http_client *client = c->client;

	assert(c->state != CALL_IDLE && c->state != CALL_ENDED);
	if (c->slot) {
		c->sent = http_slot_sent(c->slot);
		http_shard_remove(c->slot);
		http_slot_give(take(&c->slot));
	}
	call_move(c, CALL_ENDED);
	timer_stop(&c->timer);
	http_host_put(take(&c->host));
	c->rc = rc;
	c->end_ns = clock_mono_ns();
	c->soon.fn = on_finished;
	loop_soon(client->loop, &c->soon);
	/* Not here: a queue of calls that all fail at once must not become a deep stack. */
	loop_soon(client->loop, &client->pump);
}

static void on_cancel(struct op *op)
{
	struct http_call *c = container_of(op, struct http_call, op);

	if (c->state == CALL_ENDED)
		return;
	err_set(&c->err, ERR_CANCELED, "%s: canceled", c->host->name);
	http_call_finish(c, -ERR_CANCELED);
}

/* What a timer's end means depends on how far the call came. */
static void finish_late(struct http_call *c, enum http_timeout which)
{
	static const char *const what[] = {
		[HTTP_TIMEOUT_CONNECT] = "no connection in time",
		[HTTP_TIMEOUT_IDLE] = "the answer stalled",
		[HTTP_TIMEOUT_TOTAL] = "not done in time",
	};
	enum err_code code = ERR_TIMEOUT;

	if (c->head_done)
		code = ERR_STREAM_CUT;
	else if (c->slot && http_slot_sent(c->slot))
		code = ERR_OUTCOME_UNKNOWN;
	c->timeout = which;
	http_call_finish(c, err_set(&c->err, code, "%s: %s", c->host->name, what[which]));
}

/* The nearest deadline; 0 when there is none. */
static uint64_t next_due(const struct http_call *c, enum http_timeout *ret_which)
{
	uint64_t due = c->total_due_ms;

	*ret_which = HTTP_TIMEOUT_TOTAL;
	if (c->connect_due_ms && !c->connected && (!due || c->connect_due_ms < due)) {
		due = c->connect_due_ms;
		*ret_which = HTTP_TIMEOUT_CONNECT;
	}
	if (c->idle_ms && c->first_byte_ns && (!due || c->last_byte_ms + c->idle_ms < due)) {
		due = c->last_byte_ms + c->idle_ms;
		*ret_which = HTTP_TIMEOUT_IDLE;
	}
	return due;
}

void http_call_arm(struct http_call *c)
{
	enum http_timeout which;
	uint64_t due = next_due(c, &which), now = loop_now_ms(c->client->loop);

	if (due)
		timer_start(&c->timer, due > now ? due - now : 0);
	else
		timer_stop(&c->timer);
}

static void on_timer(struct timer *t)
{
	struct http_call *c = container_of(t, struct http_call, timer);
	enum http_timeout which;
	uint64_t due = next_due(c, &which);

	if (!due)
		return;
	if (loop_now_ms(c->client->loop) < due)
		http_call_arm(c);
	else
		finish_late(c, which);
}

void http_call_launch(struct http_call *c)
{
	struct http_host *h = c->host;

	if (h->rc < 0) {
		http_call_finish(c, err_set(&c->err, (enum err_code)-h->rc, "%s: %s", h->name, h->why));
		return;
	}
	call_move(c, CALL_RUNNING);
	c->slot = http_slot_take(c->client);
	if (c->slot) {
		http_slot_fill(c->slot, c);
		if (http_shard_add(c->client, c->slot) == 0)
			return;
		http_slot_give(take(&c->slot));
	}
	http_call_finish(c, err_set(&c->err, ERR_NETWORK, "%s: out of memory or descriptors", h->name));
}

/* Both limits have room. */
static void call_begin(struct http_call *c)
{
	c->connect_due_ms = loop_now_ms(c->client->loop) + (c->connect_ms ? c->connect_ms : CONNECT_MS);
	http_call_arm(c);
	call_move(c, CALL_RESOLVING);
	if (http_host_resolve(c->host) == 0)
		http_call_launch(c);
}

static bool host_has_room(const struct http_host *h)
{
	return h->admitted < h->client->cfg.per_host;
}

static void admit_waiting(struct http_host *h)
{
	while (h->waiting.n && host_has_room(h))
		call_move(container_of(list_first(&h->waiting), struct http_call, link), CALL_READY);
}

static void on_pump(struct soon *s)
{
	struct http_client *client = container_of(s, struct http_client, pump);

	while (client->ready.n && client->running < client->cfg.connections)
		call_begin(container_of(list_first(&client->ready), struct http_call, link));
}

/* A place of this host has become free. */
void http_host_put(struct http_host *h)
{
	assert(h->calls > 0);
	h->calls--;
	admit_waiting(h);
	if (h->calls == 0)
		list_push(&h->client->idle_hosts, &h->link);
}

int http_call_start(struct http_client *client, struct http_call *c, struct flow *flow)
{
	struct str text = str_from(c->url);
	struct url u;

	assert(c->state == CALL_IDLE && !client->closing);
	int rc = url_split(text, &u, &c->err);
	if (rc == 0 && client->cfg.guard)
		rc = netguard_check_url(client->cfg.guard, text, &c->err);
	if (rc == 0)
		rc = http_slot_check(c, &c->err);
	if (rc)
		return rc;
	if (!c->head_max)
		c->head_max = HEAD_MAX;
	if (!c->body_max)
		c->body_max = BODY_MAX;
	if (!c->error_max)
		c->error_max = c->body_max;
	buf_init(&c->head, c->head_max);
	buf_init(&c->answer, c->body_max);
	timer_init(&c->timer, client->loop, on_timer);
	c->client = client;
	c->https = u.https;
	c->host = http_host_get(client, &u);
	c->start_ns = clock_mono_ns();
	if (c->total_ms)
		c->total_due_ms = loop_now_ms(client->loop) + c->total_ms;
	client->live++;
	op_start(&c->op, flow, "the answer", on_cancel);

	call_move(c, CALL_WAITING);
	if (FAULT("call.start")) {
		http_call_finish(c, err_set(&c->err, ERR_NETWORK, "%s: failure ordered by a test", c->host->name));
		return 0;
	}
	admit_waiting(c->host);
	if (c->state == CALL_READY && client->ready.n == 1 && client->running < client->cfg.connections)
		call_begin(c);
	else
		http_call_arm(c);
	return 0;
}

void http_call_init(struct http_call *c)
{
	memset(c, 0, sizeof(*c));
}

void http_call_done(struct http_call *c)
{
	assert(!c->op.active);
	buf_done(&c->answer);
	buf_done(&c->head);
	free(take(&c->answer_headers));
	c->answer_nheaders = 0;
	c->state = CALL_IDLE;
}

struct str http_call_header(const struct http_call *c, const char *name)
{
	return http_find(c->answer_headers, c->answer_nheaders, name);
}

static char *copy_text(const char *z)
{
	char *copy = z ? strdup(z) : NULL;

	if (z && !copy)
		abort();
	return copy;
}

struct http_client *http_client_new(struct loop *l, const struct http_client_cfg *cfg)
{
	struct http_client *client = calloc(1, sizeof(*client));

	/* Once per process; later calls only count. */
	if (!client || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		abort();
	/* OpenSSL writes to sockets that the peer has closed. */
	signal(SIGPIPE, SIG_IGN);
	client->loop = l;
	client->cfg = *cfg;
	client->cfg.ca_file = copy_text(cfg->ca_file);
	client->cfg.user_agent = copy_text(cfg->user_agent);
	if (!client->cfg.connections)
		client->cfg.connections = UINT32_MAX;
	if (!client->cfg.per_host)
		client->cfg.per_host = UINT32_MAX;
	if (!client->cfg.idle_ms)
		client->cfg.idle_ms = IDLE_CONNECTION_MS;
	hash_init(&client->hosts);
	list_init(&client->idle_hosts);
	list_init(&client->ready);
	list_init(&client->slots);
	list_init(&client->dirty);
	client->pump.fn = on_pump;
	client->share = curl_share_init();
	if (!client->share)
		abort();
	curl_share_setopt(client->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
	return client;
}

static void on_client_closed(struct soon *s)
{
	struct http_client *client = container_of(s, struct http_client, closed);
	void (*on_closed)(void *arg) = client->on_closed;
	void *arg = client->on_closed_arg;

	http_hosts_done(client);
	hash_done(&client->hosts);
	free((void *)client->socks);
	free((void *)client->shards);
	free((void *)(uintptr_t)client->cfg.ca_file);
	free((void *)(uintptr_t)client->cfg.user_agent);
	free(client);
	curl_global_cleanup();
	if (on_closed)
		on_closed(arg);
}

void http_client_unpend(struct http_client *client)
{
	assert(client->pending > 0);
	if (--client->pending == 0 && client->closing)
		loop_soon(client->loop, &client->closed);
}

void http_client_free(struct http_client *client, void (*on_closed)(void *arg), void *arg)
{
	struct str key;
	size_t at = 0;
	void *h;

	assert(client->live == 0 && !client->closing);
	client->pending++;
	client->closing = true;
	client->on_closed = on_closed;
	client->on_closed_arg = arg;
	client->closed.fn = on_client_closed;
	loop_soon_cancel(client->loop, &client->pump);
	http_slots_done(client);
	http_shards_done(client);
	while (hash_next(&client->hosts, &at, &key, &h))
		if (((struct http_host *)h)->busy)
			uv_cancel((uv_req_t *)&((struct http_host *)h)->req);
	http_client_unpend(client);
}
