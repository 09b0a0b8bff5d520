/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosts: one entry per host and port, with its addresses. All is well: the first call asks uv_getaddrinfo (libuv's few threads,
 * instead of one thread per call as curl's own resolver would have it), the calls that come meanwhile wait with it, and for 60 s all
 * share the result, handed to curl as a CURLOPT_RESOLVE line. Addresses that the guard refuses are left out. A failure is remembered for
 * 1 s. Literal addresses need none of this. Entries without calls are kept in order of use and dropped beyond HOSTS_MAX, since tenants
 * choose names. Deadlines are not kept here: a call that leaves early just leaves the list.
 */
#include "common/http/http_client_priv.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "common/http/netguard.h"

#define GOOD_MS 60000
#define BAD_MS 1000
#define ADDRS_MAX 16

void http_addrs_unref(struct http_addrs *a)
{
	if (a && --a->refs == 0)
		free(a);
}

static void host_free(struct http_host *h)
{
	assert(h->calls == 0 && !h->busy);
	list_remove(&h->client->idle_hosts, &h->link);
	hash_remove(&h->client->hosts, (struct str){ h->name, h->name_len });
	http_addrs_unref(h->addrs);
	free(h);
}

/* Drops the entry that was unused for longest; one that is being resolved stays until its result is there. */
static void make_room(struct http_client *client)
{
	if (client->idle_hosts.n < HOSTS_MAX)
		return;
	struct http_host *h = container_of(list_first(&client->idle_hosts), struct http_host, link);
	if (!h->busy) {
		host_free(h);
		return;
	}
	list_remove(&client->idle_hosts, &h->link);
	list_push(&client->idle_hosts, &h->link);
}

static size_t write_name(const struct url *u, char *out)
{
	struct buf b;
	size_t n;

	buf_init(&b, HOST_NAME_SIZE - 1);
	buf_printf(&b, u->kind == URL_HOST_IPV6 ? "[" STR_FMT "]:%u" : STR_FMT ":%u", STR_ARG(u->host), u->port);
	assert(!buf_failed(&b));
	n = b.n;
	for (size_t i = 0; i < n; i++)
		out[i] = b.p[i] >= 'A' && b.p[i] <= 'Z' ? (char)(b.p[i] | 0x20) : b.p[i];
	out[n] = 0;
	buf_done(&b);
	return n;
}

struct http_host *http_host_get(struct http_client *client, const struct url *u)
{
	char name[HOST_NAME_SIZE];
	size_t n = write_name(u, name);
	struct http_host *h = hash_get(&client->hosts, (struct str){ name, n });

	if (!h) {
		make_room(client);
		h = calloc(1, sizeof(*h));
		if (!h)
			abort();
		h->client = client;
		list_init(&h->waiting);
		list_init(&h->resolving);
		h->literal = u->kind != URL_HOST_NAME;
		memcpy(h->name, name, n + 1);
		h->name_len = n;
		hash_set(&client->hosts, (struct str){ h->name, n }, h);
	}
	list_remove(&client->idle_hosts, &h->link);
	h->calls++;
	return h;
}

/* "+name:port:address,address": '+' lets curl forget it again. NULL when the guard left nothing. */
static struct http_addrs *write_addrs(const struct http_host *h, const struct addrinfo *list)
{
	const struct netguard *guard = h->client->cfg.guard;
	char text[INET6_ADDRSTRLEN];
	unsigned n = 0;
	struct buf b;

	buf_init(&b, HOST_NAME_SIZE + ADDRS_MAX * (INET6_ADDRSTRLEN + 3));
	buf_printf(&b, "+%s", h->name);
	for (const struct addrinfo *ai = list; ai && n < ADDRS_MAX; ai = ai->ai_next) {
		if (guard && !netguard_allows_addr(guard, ai->ai_addr))
			continue;
		if (uv_ip_name(ai->ai_addr, text, sizeof(text)))
			continue;
		buf_printf(&b, ai->ai_family == AF_INET6 ? "%c[%s]" : "%c%s", n++ ? ',' : ':', text);
	}
	assert(!buf_failed(&b));
	struct http_addrs *a = n ? calloc(1, sizeof(*a) + b.n + 1) : NULL;
	if (a) {
		a->refs = 1;
		a->node.data = a->text;
		memcpy(a->text, b.p, b.n);
	}
	buf_done(&b);
	return a;
}

static void host_set_result(struct http_host *h, int status, const struct addrinfo *list)
{
	struct err why = { .code = ERR_OK };

	http_addrs_unref(take(&h->addrs));
	if (status < 0) {
		h->rc = err_set(&why, ERR_NETWORK, "the name does not resolve: %s", uv_strerror(status));
	} else {
		h->addrs = write_addrs(h, list);
		h->rc = h->addrs ? 0 : err_set(&why, ERR_ADDRESS_REFUSED, "all its addresses are refused");
	}
	memcpy(h->why, why.text, sizeof(h->why) - 1);
	h->until_ms = loop_now_ms(h->client->loop) + (h->rc < 0 ? BAD_MS : GOOD_MS);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
	struct http_host *h = container_of(req, struct http_host, req);
	struct http_client *client = h->client;

	h->busy = false;
	host_set_result(h, status, list);
	uv_freeaddrinfo(list);
	while (h->resolving.n)
		http_call_launch(container_of(list_first(&h->resolving), struct http_call, link));
	http_client_unpend(client);
}

int http_host_resolve(struct http_host *h)
{
	static const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	char node[HOST_NAME_SIZE];
	size_t n = h->name_len;

	if (h->literal)
		return 0;
	if (h->busy)
		return 1;
	if (h->until_ms > loop_now_ms(h->client->loop))
		return 0;
	while (h->name[--n] != ':')
		;
	memcpy(node, h->name, n);
	node[n] = 0;
	int rc = uv_getaddrinfo(&h->client->loop->uv, &h->req, on_resolved, node, NULL, &hints);
	if (rc < 0) {
		host_set_result(h, rc, NULL);
		return 0;
	}
	h->busy = true;
	h->client->pending++;
	return 1;
}

void http_hosts_done(struct http_client *client)
{
	while (client->idle_hosts.n)
		host_free(container_of(list_first(&client->idle_hosts), struct http_host, link));
	assert(client->hosts.n == 0);
}
