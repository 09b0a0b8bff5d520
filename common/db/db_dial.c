/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One attempt to connect to one host, without blocking the loop: resolve its name in libuv's thread pool (libpq would
 * block), give libpq the addresses, and follow PQconnectPoll with uv_poll. Two seconds for all of it.
 *
 * What can go wrong: a host that is away, silent, a standby, or refuses us. libpq gives up a whole list of hosts when
 * one of them goes wrong after its TCP handshake; so each attempt gets one host, the next attempt the next, and the
 * pause grows after each round. The host that worked last is tried first.
 *
 * Keeping the connection, and trying again, is left to db_conn.c and db_listen.c.
 */
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "common/crypto.h"
#include "common/db/db_conn.h"
#include "common/log.h"
#include "common/metrics.h"

#define PARAMS_MAX         80
#define ADDRESSES_MAX      8
#define LOCK_TIMEOUT_MS    10000
#define IDLE_TX_TIMEOUT_MS 10000
#define PAUSE_MIN_MS       50
#define PAUSE_MAX_MS       1000

struct db_resolve {
	uv_getaddrinfo_t uv;
	struct db_gate *gate;
	struct db_dial *dial; /* NULL: no longer wanted */
};

/* --- the connection string --- */

static char *copy(struct str s)
{
	char *z = strndup(s.p, s.n);
	if (!z)
		abort();
	return z;
}

/* The i-th part of a list with commas; a list of one holds for all. NULL when absent or empty. */
static char *list_part(const char *list, int i)
{
	struct str rest = str_from(list), part = { 0 };
	if (!list || !*list)
		return NULL;
	bool single = str_find_char(rest, ',') < 0;
	for (int k = 0; k <= (single ? 0 : i); k++)
		if (!str_split(&rest, ',', &part))
			return NULL;
	return part.n ? copy(part) : NULL;
}

static int list_len(const char *list)
{
	int n = 1;
	for (const char *p = list; p && *p; p++)
		n += *p == ',';
	return n;
}

static const char *option(const struct db_targets *t, const char *keyword)
{
	for (const PQconninfoOption *o = t->options; o->keyword; o++)
		if (strcmp(o->keyword, keyword) == 0)
			return o->val && *o->val ? o->val : NULL;
	return NULL;
}

static char *session_options(const struct db_cfg *cfg, const char *from_url)
{
	struct buf b;
	size_t n;
	buf_init(&b, 4096);
	buf_printf(&b, "%s%s-c lock_timeout=%d -c idle_in_transaction_session_timeout=%d", from_url ? from_url : "",
	           from_url ? " " : "", LOCK_TIMEOUT_MS, IDLE_TX_TIMEOUT_MS);
	if (cfg->statement_timeout_ms > 0)
		buf_printf(&b, " -c statement_timeout=%d", cfg->statement_timeout_ms);
	return buf_steal(&b, &n);
}

int db_targets_init(struct db_targets *t, const struct db_cfg *cfg)
{
	*t = (struct db_targets){ .cfg = cfg };
	t->options = PQconninfoParse(cfg->url, NULL);
	if (!t->options)
		return -ERR_CONFIG;
	const char *host = option(t, "host"), *address = option(t, "hostaddr"), *port = option(t, "port");
	t->n = list_len(address ? address : host);
	t->hosts = calloc((size_t)t->n, sizeof(*t->hosts));
	if (!t->hosts)
		abort();
	for (int i = 0; i < t->n; i++)
		t->hosts[i] = (struct db_host){ list_part(host, i), list_part(address, i), list_part(port, i) };
	if (!cfg->pooler)
		t->session_options = session_options(cfg, option(t, "options"));
	return 0;
}

void db_targets_done(struct db_targets *t)
{
	for (int i = 0; i < t->n; i++) {
		free(t->hosts[i].name);
		free(t->hosts[i].address);
		free(t->hosts[i].port);
	}
	free(t->hosts);
	free(t->session_options);
	PQconninfoFree(t->options);
	*t = (struct db_targets){ 0 };
}

/* --- gate and watch --- */

static void gate_leave(struct db_gate *g)
{
	assert(g->open > 0);
	g->open--;
	loop_soon(g->loop, &g->passed);
}

static void on_watch_closed(uv_handle_t *h)
{
	struct db_watch *w = container_of((uv_poll_t *)h, struct db_watch, uv);
	gate_leave(w->gate);
	free(w);
}

static void on_watch_event(uv_poll_t *uv, int status, int events)
{
	struct db_watch *w = container_of(uv, struct db_watch, uv);
	w->fn(w->arg, status, events);
}

struct db_watch *db_watch_open(struct db_gate *g, int fd, void (*fn)(void *arg, int status, int events), void *arg)
{
	struct db_watch *w = calloc(1, sizeof(*w));
	if (!w)
		abort();
	if (uv_poll_init(&g->loop->uv, &w->uv, fd) < 0) {
		free(w);
		return NULL;
	}
	g->open++;
	w->gate = g;
	w->fn = fn;
	w->arg = arg;
	return w;
}

void db_watch_want(struct db_watch *w, int events)
{
	if (w->events == events)
		return;
	w->events = events;
	uv_poll_start(&w->uv, events, on_watch_event);
}

void db_watch_close(struct db_watch *w)
{
	if (w)
		uv_close((uv_handle_t *)&w->uv, on_watch_closed);
}

/* --- pauses --- */

uint64_t db_jitter_ms(unsigned tries, uint64_t base_ms, uint64_t max_ms)
{
	uint64_t ms = MIN(base_ms << MIN(tries, 16u), max_ms);
	uint32_t r;
	crypto_random(&r, sizeof(r));
	return ms / 2 + r % (ms / 2 + 1);
}

uint64_t db_dial_pause_ms(struct db_dial *d)
{
	unsigned n = (unsigned)d->targets->n, round = d->fails / n;
	if (d->fails % n)
		return 1; /* the next host of this round */
	return db_jitter_ms(round ? round - 1 : 0, PAUSE_MIN_MS, PAUSE_MAX_MS);
}

/* --- one attempt --- */

static void dial_clear(struct db_dial *d)
{
	timer_stop(&d->limit);
	db_watch_close(take(&d->watch));
	if (d->resolve) {
		d->resolve->dial = NULL;
		uv_cancel((uv_req_t *)&d->resolve->uv); /* may be running: then its end is awaited by the gate */
		d->resolve = NULL;
	}
	d->active = false;
}

static void dial_fail(struct db_dial *d, const char *text)
{
	struct pg_conn *pg = take(&d->pg);
	const struct db_host *host = &d->targets->hosts[d->host];
	dial_clear(d);
	d->fails++;
	metric_add(METRIC_DB_CONNECTS, "failed", 1);
	log_event(LOG_DEBUG, "db_connect_failed", text, LOG_Z("host", host->name), LOG_Z("port", host->port), LOG_END);
	d->on_done(d, NULL, text); /* the text may lie in pg */
	PQfinish(pg);
}

static void dial_success(struct db_dial *d)
{
	dial_clear(d);
	d->fails = 0;
	d->targets->good = d->host;
	metric_add(METRIC_DB_CONNECTS, "ok", 1);
	d->on_done(d, take(&d->pg), NULL);
}

static void on_limit(struct timer *t)
{
	dial_fail(container_of(t, struct db_dial, limit), "no connection within the time limit");
}

static void dial_poll(void *arg, int status, int events)
{
	struct db_dial *d = arg;
	(void)events;
	(void)status; /* libuv says EBADF of any socket error; libpq reads which it is, and goes on with the host's next address */
	/* libpq may go on with another socket, and even give it the same number: watch it anew each time. */
	PostgresPollingStatusType next = PQconnectPoll(d->pg);
	db_watch_close(take(&d->watch));
	if (next == PGRES_POLLING_OK) {
		dial_success(d);
		return;
	}
	if (next != PGRES_POLLING_FAILED)
		d->watch = db_watch_open(d->gate, PQsocket(d->pg), dial_poll, d);
	if (!d->watch) {
		dial_fail(d, PQerrorMessage(d->pg));
		return;
	}
	db_watch_want(d->watch, next == PGRES_POLLING_READING ? UV_READABLE : UV_WRITABLE);
}

static void on_silent_notice(void *arg, const PGresult *res)
{
	(void)arg;
	(void)res; /* nothing on standard error */
}

struct params {
	const char *keys[PARAMS_MAX + 1], *values[PARAMS_MAX + 1];
	size_t n;
};

static void param(struct params *p, const char *key, const char *value)
{
	assert(p->n < PARAMS_MAX);
	if (!value)
		return;
	p->keys[p->n] = key;
	p->values[p->n++] = value;
}

/* The connection string's own options come last and win; the host is ours. addresses: NULL, or a list with commas. */
static void dial_connect(struct db_dial *d, const char *names, const char *addresses, const char *ports)
{
	const struct db_targets *t = d->targets;
	struct params p = { 0 };
	param(&p, "application_name", t->cfg->application);
	param(&p, "target_session_attrs", "read-write");
	param(&p, "client_encoding", "UTF8");
	param(&p, "keepalives", "1");
	param(&p, "keepalives_idle", "10");
	param(&p, "keepalives_interval", "5");
	param(&p, "keepalives_count", "3");
	param(&p, "tcp_user_timeout", "10000");
	static const char *const ours[] = { "host", "hostaddr", "port", "client_encoding" };
	for (const PQconninfoOption *o = t->options; o->keyword; o++) {
		bool skip = strcmp(o->keyword, "options") == 0 && t->session_options;
		for (size_t i = 0; i < ARRAY_LEN(ours); i++)
			skip = skip || strcmp(o->keyword, ours[i]) == 0;
		if (!skip && o->val && *o->val)
			param(&p, o->keyword, o->val);
	}
	param(&p, "options", t->session_options);
	param(&p, "host", names);
	param(&p, "hostaddr", addresses);
	param(&p, "port", ports);

	d->pg = PQconnectStartParams(p.keys, p.values, /* expand_dbname= */ 0);
	if (!d->pg)
		abort();
	PQsetNoticeReceiver(d->pg, on_silent_notice, NULL);
	if (PQstatus(d->pg) != CONNECTION_BAD)
		d->watch = db_watch_open(d->gate, PQsocket(d->pg), dial_poll, d);
	if (!d->watch) {
		dial_fail(d, PQerrorMessage(d->pg));
		return;
	}
	db_watch_want(d->watch, UV_WRITABLE);
}

static void add_comma(struct buf *b, const char *z)
{
	if (b->n)
		buf_add_char(b, ',');
	buf_add_z(b, z);
}

/* Gives libpq all addresses of the name, another one first after each failed round. */
static void dial_addresses(struct db_dial *d, const struct addrinfo *list)
{
	const struct db_host *host = &d->targets->hosts[d->host];
	const struct addrinfo *all[ADDRESSES_MAX];
	unsigned n = 0, first = d->fails / (unsigned)d->targets->n;
	for (const struct addrinfo *a = list; a && n < ADDRESSES_MAX; a = a->ai_next)
		all[n++] = a;
	struct buf names, addresses, ports;
	buf_init(&names, 4096);
	buf_init(&addresses, 4096);
	buf_init(&ports, 4096);
	for (unsigned i = 0; i < n; i++) {
		char text[INET6_ADDRSTRLEN];
		const struct sockaddr *sa = all[(first + i) % n]->ai_addr;
		int rc = sa->sa_family == AF_INET6
		             ? uv_ip6_name((const struct sockaddr_in6 *)(const void *)sa, text, sizeof(text))
		             : uv_ip4_name((const struct sockaddr_in *)(const void *)sa, text, sizeof(text));
		if (rc < 0)
			continue;
		add_comma(&names, host->name);
		add_comma(&addresses, text);
		if (host->port)
			add_comma(&ports, host->port);
	}
	buf_add_char(&names, '\0');
	buf_add_char(&addresses, '\0');
	buf_add_char(&ports, '\0');
	if (addresses.n > 1 && !buf_failed(&names) && !buf_failed(&addresses) && !buf_failed(&ports))
		dial_connect(d, names.p, addresses.p, *ports.p ? ports.p : NULL);
	else
		dial_fail(d, "the host name has no address");
	buf_done(&names);
	buf_done(&addresses);
	buf_done(&ports);
}

static void on_resolved(uv_getaddrinfo_t *uv, int status, struct addrinfo *list)
{
	struct db_resolve *r = container_of(uv, struct db_resolve, uv);
	struct db_dial *d = r->dial;
	struct db_gate *gate = r->gate;
	free(r);
	if (d) {
		d->resolve = NULL;
		if (status < 0)
			dial_fail(d, uv_strerror(status));
		else
			dial_addresses(d, list);
	}
	uv_freeaddrinfo(list);
	gate_leave(gate);
}

static bool needs_resolving(const struct db_host *host)
{
	unsigned char ip[16];
	return host->name && !host->address && *host->name != '/' && *host->name != '@' &&
	       uv_inet_pton(AF_INET, host->name, ip) < 0 && uv_inet_pton(AF_INET6, host->name, ip) < 0;
}

void db_dial_init(struct db_dial *d, struct db_targets *t, struct db_gate *g,
                  void (*on_done)(struct db_dial *d, struct pg_conn *pg, const char *text))
{
	*d = (struct db_dial){ .targets = t, .gate = g, .on_done = on_done };
	timer_init(&d->limit, g->loop, on_limit);
}

void db_dial_start(struct db_dial *d)
{
	assert(!d->active && !d->pg);
	d->active = true;
	d->host = (int)(((unsigned)d->targets->good + d->fails) % (unsigned)d->targets->n);
	const struct db_host *host = &d->targets->hosts[d->host];
	timer_start(&d->limit, DB_CONNECT_LIMIT_MS);
	if (!needs_resolving(host)) {
		dial_connect(d, host->name, host->address, host->port);
		return;
	}
	struct db_resolve *r = calloc(1, sizeof(*r));
	if (!r)
		abort();
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC };
	r->gate = d->gate;
	r->dial = d;
	if (uv_getaddrinfo(&d->gate->loop->uv, &r->uv, on_resolved, host->name, NULL, &hints) < 0) {
		free(r);
		dial_fail(d, "the host name cannot be resolved");
		return;
	}
	d->gate->open++;
	d->resolve = r;
}

void db_dial_cancel(struct db_dial *d)
{
	if (!d->active)
		return;
	dial_clear(d);
	PQfinish(take(&d->pg));
}
