/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The listener and the life of the server: accept, limit of connections, drain, end. Accepting is done here and not
 * by libuv, whose answer to a lack of descriptors is to accept and drop: instead accepting rests for 100 ms and the
 * clients wait in the kernel's queue.
 *
 * The server is freed when its listener, its connections and its requests have all ended: a handler may hold a
 * request longer than its connection lives. Over the limit of connections a client is told 503; far over it, its
 * connection is closed.
 */
#define _GNU_SOURCE /* accept4 */
#include "common/http/http_conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_BATCH 64

static bool connection_is_over(struct http_server *s, int fd)
{
	if (s->conns.n < (size_t)s->limits.connections + HTTP_EXTRA_CONNS)
		return false;
	close(fd);
	return true;
}

struct http_conn *http_server_adopt(struct http_server *s, int fd, const char *peer)
{
	struct err err;
	bool full = s->conns.n >= s->limits.connections;
	struct http_conn *c = connection_is_over(s, fd) ? NULL : http_conn_new(s, fd, peer);
	if (!c)
		return NULL;
	if (full) {
		err_set(&err, ERR_OVERLOADED, "%u clients are connected already", s->limits.connections);
		http_conn_refuse(c, &err);
	}
	http_conn_settle(c);
	return c;
}

static void peer_text(const struct sockaddr_storage *a, char out[48])
{
	memcpy(out, "unix", 5);
	if (a->ss_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)a)->sin_addr, out, 48);
	else if (a->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, out, 48);
}

static void on_accept_again(struct timer *t);

static void on_connection(uv_poll_t *p, int status UNUSED, int events UNUSED)
{
	struct http_server *s = p->data;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage a = { 0 };
		socklen_t n = sizeof(a);
		char peer[48];
		int fd = accept4(s->fd, (struct sockaddr *)&a, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
			uv_poll_stop(&s->poll);
			timer_start(&s->accept_again, HTTP_ACCEPT_PAUSE_MS);
			return;
		}
		if (fd < 0 && (errno == EAGAIN || errno == EBADF || errno == EINVAL))
			return;
		if (fd < 0)
			continue; /* that client is gone already */
		peer_text(&a, peer);
		http_server_adopt(s, fd, peer);
	}
}

static void on_accept_again(struct timer *t)
{
	struct http_server *s = container_of(t, struct http_server, accept_again);
	if (s->poll_open)
		uv_poll_start(&s->poll, UV_READABLE, on_connection);
}

static void on_poll_closed(uv_handle_t *h)
{
	struct http_server *s = h->data;
	s->fd = -1;
	http_server_check(s);
}

static void stop_accepting(struct http_server *s)
{
	if (!s->poll_open)
		return;
	s->poll_open = false;
	timer_stop(&s->accept_again);
	uv_close((uv_handle_t *)&s->poll, on_poll_closed);
	close(s->fd);
	if (s->unix_path[0])
		unlink(s->unix_path);
}

int http_server_start(struct loop *l, const char *listen, bool reuse_port, const struct http_limits *limits,
                      const struct http_handler *handler, void *user, struct http_server **ret, struct err *err)
{
	struct http_server *s = calloc(1, sizeof(*s));
	if (!s)
		abort();
	assert(handler->on_head && handler->on_end);
	signal(SIGPIPE, SIG_IGN); /* a client that has gone is an error of a write, not a signal */
	s->fd = http_listen(listen, reuse_port, &s->port, s->unix_path, err);
	if (s->fd < 0) {
		int rc = s->fd;
		free(s);
		return rc;
	}
	s->loop = l;
	s->handler = *handler;
	s->user = user;
	s->limits = *limits;
	s->is_unix = s->unix_path[0] != '\0';
	list_init(&s->conns);
	timer_init(&s->accept_again, l, on_accept_again);
	buf_init(&s->scratch, 2 * HTTP_HEAD_MAX);
	buf_init(&s->label, 1024);
	s->rbuf = malloc(HTTP_READ_BYTES);
	if (!s->rbuf || uv_poll_init(&l->uv, &s->poll, s->fd) < 0)
		abort();
	s->poll.data = s;
	s->poll_open = true;
	uv_poll_start(&s->poll, UV_READABLE, on_connection);
	*ret = s;
	return 0;
}

int http_server_port(const struct http_server *s)
{
	return s->port;
}

struct str http_server_url(const struct http_server *s, const char *listen, struct arena *a)
{
	struct str text = str_from(listen);
	if (s->is_unix)
		return arena_str(a, text);
	size_t n = text.n;
	while (n > 0 && text.p[n - 1] != ':')
		n--;
	struct str host = n > 1 ? str_sub(text, 0, n - 1) : STR("*");
	if (str_eq(host, STR("0.0.0.0")) || str_eq(host, STR("*")) || str_eq(host, STR("[::]")))
		host = STR("127.0.0.1");
	return arena_printf(a, "http://" STR_FMT ":%d", STR_ARG(host), s->port);
}

void *http_server_user(const struct http_server *s)
{
	return s->user;
}

void http_server_limits(struct http_server *s, const struct http_limits *limits)
{
	s->limits = *limits;
}

size_t http_server_connections(const struct http_server *s)
{
	return s->conns.n;
}

void http_server_check(struct http_server *s)
{
	if (s->conns.n || s->requests || s->fd >= 0)
		return;
	if (s->on_drained) {
		void (*fn)(void *arg) = take(&s->on_drained);
		bool freeing = s->freeing;
		fn(s->drained_arg);
		if (!freeing)
			return; /* fn may have freed the server */
	}
	if (!s->freeing)
		return;
	void (*closed)(void *arg) = s->on_closed;
	void *arg = s->closed_arg;
	buf_done(&s->scratch);
	buf_done(&s->label);
	free(s->rbuf);
	free(s);
	if (closed)
		closed(arg);
}

void http_server_drain(struct http_server *s, void (*on_drained)(void *arg), void *arg)
{
	s->on_drained = on_drained;
	s->drained_arg = arg;
	s->draining = true;
	stop_accepting(s);
	LIST_EACH_SAFE(&s->conns, k, tmp)
	{
		struct http_conn *c = container_of(k, struct http_conn, link);
		if (http_conn_is_idle(c))
			http_conn_close(c, false);
	}
	http_server_check(s);
}

void http_server_free(struct http_server *s, void (*on_closed)(void *arg), void *arg)
{
	if (!s) {
		if (on_closed)
			on_closed(arg);
		return;
	}
	assert(!s->freeing);
	s->on_closed = on_closed;
	s->closed_arg = arg;
	s->draining = true;
	stop_accepting(s);
	s->requests++; /* keeps the server while handlers end their requests */
	LIST_EACH_SAFE(&s->conns, k, tmp)
	http_conn_close(container_of(k, struct http_conn, link), false);
	s->requests--;
	s->freeing = true;
	http_server_check(s);
}
