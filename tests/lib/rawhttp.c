/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See rawhttp.h. The socket is nonblocking; each wait is a turn of the server's loop and a read. A timer keeps the
 * loop from sleeping for long when nothing happens in it.
 */
#include "tests/lib/rawhttp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"

#define LIMIT_MS 10000u

void raw_open(struct raw *c, struct loop *l, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int one = 1, window = 65536; /* small: unread answers wait in the server */
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*c = (struct raw){ .loop = l };
	buf_init(&c->in, 64u << 20);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof(window));
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		abort();
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

void raw_done(struct raw *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	buf_done(&c->in);
}

static void on_tick(struct timer *t UNUSED)
{
}

static void turn(struct loop *l)
{
	struct timer tick;
	timer_init(&tick, l, on_tick);
	timer_start(&tick, 5);
	uv_run(&l->uv, UV_RUN_ONCE);
	timer_stop(&tick);
}

static bool read_some(struct raw *c)
{
	char *room = buf_room(&c->in, 65536);
	if (!room)
		abort();
	ssize_t n = recv(c->fd, room, 65536, MSG_DONTWAIT);
	if (n > 0)
		buf_grown(&c->in, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		c->eof = true;
	c->reset = c->reset || (n < 0 && errno == ECONNRESET);
	return n > 0;
}

bool raw_turn(struct raw *c)
{
	if (c->deaf || c->eof)
		turn(c->loop);
	else if (!read_some(c) && !c->eof)
		turn(c->loop);
	return !c->eof;
}

bool raw_until(struct raw *c, bool (*done)(void *arg), void *arg)
{
	uint64_t end = clock_mono_ms() + LIMIT_MS;
	while (!done(arg)) {
		raw_turn(c);
		if (clock_mono_ms() > end)
			return false;
	}
	return true;
}

void raw_send(struct raw *c, struct str s)
{
	uint64_t end = clock_mono_ms() + LIMIT_MS;
	while (s.n && clock_mono_ms() < end && !c->eof) {
		ssize_t n = send(c->fd, s.p, s.n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0)
			s = str_sub(s, (size_t)n, s.n);
		else if (errno != EAGAIN)
			return;
		else
			raw_turn(c);
	}
}

void raw_send_bytes(struct raw *c, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (send(c->fd, s.p + i, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
			return;
		uv_run(&c->loop->uv, UV_RUN_NOWAIT);
	}
}

void raw_shutdown(struct raw *c)
{
	shutdown(c->fd, SHUT_WR);
}

static bool is_eof(void *arg)
{
	return ((struct raw *)arg)->eof;
}

bool raw_wait_eof(struct raw *c)
{
	return raw_until(c, is_eof, c) && c->in.n == 0;
}

/* Runs until n bytes are there. */
static bool need(struct raw *c, size_t n)
{
	uint64_t end = clock_mono_ms() + LIMIT_MS;
	while (c->in.n < n && !c->eof && clock_mono_ms() < end)
		raw_turn(c);
	return c->in.n >= n;
}

static ssize_t need_text(struct raw *c, struct str text)
{
	uint64_t end = clock_mono_ms() + LIMIT_MS;
	ssize_t at;
	while ((at = str_find(buf_str(&c->in), text)) < 0 && !c->eof && clock_mono_ms() < end)
		raw_turn(c);
	return at;
}

const char *raw_header(const struct raw_answer *a, const char *name, char *out, size_t n)
{
	struct str rest = str_from(a->head), line;
	str_split(&rest, '\n', &line);
	while (str_split(&rest, '\n', &line)) {
		ssize_t colon = str_find_char(line, ':');
		if (colon < 0 || !str_eq_nocase(str_sub(line, 0, (size_t)colon), str_from(name)))
			continue;
		struct str v = str_trim(str_sub(line, (size_t)colon + 1, line.n));
		if (v.n >= n)
			abort();
		memcpy(out, v.p, v.n);
		out[v.n] = '\0';
		return out;
	}
	return NULL;
}

static size_t hex(struct str s)
{
	size_t v = 0;
	for (size_t i = 0; i < s.n; i++)
		v = v * 16 + (size_t)(s.p[i] <= '9' ? s.p[i] - '0' : (s.p[i] | 0x20) - 'a' + 10);
	return v;
}

static bool read_chunks(struct raw *c, struct buf *body)
{
	for (;;) {
		ssize_t at = need_text(c, STR("\r\n"));
		if (at < 0)
			return false;
		size_t n = hex(str_sub(buf_str(&c->in), 0, (size_t)at));
		if (!need(c, (size_t)at + 2 + n + 2))
			return false;
		buf_add(body, c->in.p + at + 2, n);
		buf_consume(&c->in, (size_t)at + 2 + n + 2);
		if (!n)
			return true;
	}
}

static bool read_body(struct raw *c, struct raw_answer *a)
{
	char v[64];
	uint64_t n = 0;
	if (raw_header(a, "transfer-encoding", v, sizeof(v)))
		return read_chunks(c, &a->body);
	if (!raw_header(a, "content-length", v, sizeof(v))) {
		while (!c->eof && need(c, c->in.n + 1))
			continue;
		n = c->in.n;
	} else if (str_u64(str_from(v), 0, UINT64_MAX, &n) < 0) {
		abort();
	}
	bool whole = need(c, n);
	size_t take_n = MIN((size_t)n, c->in.n);
	buf_add(&a->body, c->in.p, take_n);
	buf_consume(&c->in, take_n);
	return whole;
}

bool raw_answer(struct raw *c, bool head_only, struct raw_answer *a)
{
	uint64_t status;
	*a = (struct raw_answer){ 0 };
	buf_init(&a->body, 64u << 20);
	ssize_t at = need_text(c, STR("\r\n\r\n"));
	if (at < 0 || (size_t)at + 4 >= sizeof(a->head))
		return false;
	memcpy(a->head, c->in.p, (size_t)at + 2);
	buf_consume(&c->in, (size_t)at + 4);
	if (!str_has_prefix(str_from(a->head), STR("HTTP/1.1 ")) ||
	    str_u64(str_sub(str_from(a->head), 9, 3), 100, 599, &status) < 0)
		return false;
	a->status = (int)status;
	if (!head_only && status >= 200 && status != 204 && status != 304)
		a->cut = !read_body(c, a);
	return true;
}

void raw_answer_done(struct raw_answer *a)
{
	buf_done(&a->body);
}
