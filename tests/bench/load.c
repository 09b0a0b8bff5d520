/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load: requests over HTTP. N keep-alive connections, each sends POST /v1/jobs with a body of its own and an Idempotency-Key
 * of its own, waits for the answer, and sends the next; for S seconds. Prints one JSON line: requests per second and latencies.
 *
 *   load HOST PORT KEY CONNECTIONS SECONDS BODY_BYTES [ROUTE]
 *   load HOST PORT KEY CONNECTIONS SECONDS BODY_BYTES MODEL chat [HEADER…]    the same with POST /v1/chat/completions, without a key of its own
 *
 * It is made to cost little beside the server that it measures: one thread, epoll, one write and mostly one read per request, no parsing beyond
 * status and length.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/err.h"

#define IN_BYTES    8192
#define BUCKETS     20000 /* of 20 µs: latencies to 400 ms */
#define BUCKET_NS   20000
#define EVENTS      256

struct connection {
	int fd;
	size_t sent, got;
	uint64_t began_ns;
	struct buf out;
	char in[IN_BYTES];
};

struct run {
	struct sockaddr_in to;
	const char *key, *route;
	char *const *headers; /* "Name: value", further ones of a chat; ended by NULL */
	bool is_chat;
	struct buf body; /* all but the number, which makes each body its own */
	uint64_t number, requests, errors, end_ns;
	uint32_t latencies[BUCKETS];
	char prefix[17];
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void make_request(struct run *r, struct connection *c)
{
	uint64_t n = r->number++;
	buf_clear(&c->out);
	struct buf tail;
	buf_init(&tail, 256);
	if (r->is_chat)
		buf_printf(&tail, "%llu\"}],\"max_tokens\":64}", (unsigned long long)n);
	else
		buf_printf(&tail, "\"}],\"max_tokens\":64},\"metadata\":{\"n\":\"%llu\"}}", (unsigned long long)n);
	buf_printf(&c->out, "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n",
	           r->is_chat ? "/v1/chat/completions" : "/v1/jobs", r->key);
	for (char *const *header = r->headers; *header; header++)
		buf_printf(&c->out, "%s\r\n", *header);
	if (!r->is_chat)
		buf_printf(&c->out, "Idempotency-Key: %s-%llu\r\n", r->prefix, (unsigned long long)n);
	buf_printf(&c->out, "Content-Length: %zu\r\n\r\n", r->body.n + tail.n);
	buf_add_str(&c->out, buf_str(&r->body));
	buf_add_str(&c->out, buf_str(&tail));
	buf_done(&tail);
	c->sent = c->got = 0;
	c->began_ns = clock_mono_ns();
}

static void push(struct connection *c)
{
	while (c->sent < c->out.n) {
		ssize_t n = write(c->fd, c->out.p + c->sent, c->out.n - c->sent);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			die("write");
		c->sent += (size_t)n;
	}
}

/* The whole answer is there: its status; 0: not yet. */
static int answer_status(const struct connection *c)
{
	struct str in = { c->in, c->got };
	ssize_t end = str_find(in, STR("\r\n\r\n"));
	if (end < 0)
		return 0;
	struct str head = str_sub(in, 0, (size_t)end);
	ssize_t at = str_find_nocase(head, STR("\r\ncontent-length:"));
	uint64_t length = 0, status = 0;
	if (at >= 0) {
		struct str line = str_sub(head, (size_t)at + 17, head.n), value;
		str_split(&line, '\r', &value);
		if (str_u64(str_trim(value), 0, IN_BYTES, &length) < 0)
			return -1;
	}
	if (c->got < (size_t)end + 4 + length)
		return 0;
	return str_u64(str_sub(in, 9, 3), 100, 599, &status) < 0 ? -1 : (int)status;
}

static void note(struct run *r, const struct connection *c, int status)
{
	uint64_t bucket = (clock_mono_ns() - c->began_ns) / BUCKET_NS;
	r->requests++;
	r->errors += status != (r->is_chat ? 200 : 202);
	r->latencies[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
}

static void pull(struct run *r, struct connection *c)
{
	ssize_t n = read(c->fd, c->in + c->got, IN_BYTES - c->got);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		die("the server closed a connection");
	c->got += (size_t)n;
	int status = answer_status(c);
	if (status == 0)
		return;
	note(r, c, status);
	if (clock_mono_ns() >= r->end_ns)
		return;
	make_request(r, c);
	push(c);
}

static void connect_one(struct run *r, struct connection *c, int epoll)
{
	int one = 1;
	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)(const void *)&r->to, sizeof r->to) < 0)
		die("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	buf_init(&c->out, 1 << 24);
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e) < 0)
		die("epoll_ctl");
}

static double quantile_ms(const struct run *r, double q)
{
	uint64_t want = (uint64_t)((double)r->requests * q), seen = 0;
	for (size_t i = 0; i < BUCKETS; i++) {
		seen += r->latencies[i];
		if (seen > want)
			return (double)((i + 1) * BUCKET_NS) / 1e6;
	}
	return (double)BUCKETS * BUCKET_NS / 1e6;
}

static uint64_t number(const char *z)
{
	uint64_t v;
	if (str_u64(str_from(z), 1, 1u << 30, &v) < 0) {
		fprintf(stderr, "load: not a number: %s\n", z);
		exit(2);
	}
	return v;
}

static void make_body(struct run *r, size_t bytes)
{
	buf_init(&r->body, 1 << 24);
	buf_printf(&r->body, r->is_chat ? "{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\""
	                                : "{\"route\":\"%s\",\"request\":{\"messages\":[{\"role\":\"user\",\"content\":\"", r->route);
	while (r->body.n + 60 < bytes)
		buf_add_z(&r->body, "Each contributor grants a licence to the work. ");
}

int main(int argc, char **argv)
{
	static struct run r;
	if (argc < 7) {
		fprintf(stderr, "usage: load HOST PORT KEY CONNECTIONS SECONDS BODY_BYTES [ROUTE [chat [HEADER…]]]\n");
		return 2;
	}
	r.to.sin_family = AF_INET;
	r.to.sin_port = htons((uint16_t)number(argv[2]));
	inet_pton(AF_INET, argv[1], &r.to.sin_addr);
	r.key = argv[3];
	r.route = argc > 7 ? argv[7] : "default";
	r.is_chat = argc > 8 && str_eq_z(STR("chat"), argv[8]);
	r.headers = argv + (argc > 9 ? 9 : argc); /* argv[argc] is NULL */
	make_body(&r, number(argv[6]));
	struct buf prefix;
	buf_init(&prefix, 32);
	crypto_random_base62(&prefix, 16);
	memcpy(r.prefix, prefix.p, 16);
	buf_done(&prefix);

	size_t n = number(argv[4]);
	struct connection *all = calloc(n, sizeof *all);
	int epoll = epoll_create1(0);
	for (size_t i = 0; i < n; i++)
		connect_one(&r, &all[i], epoll);
	uint64_t start = clock_mono_ns();
	r.end_ns = start + number(argv[5]) * 1000000000;
	for (size_t i = 0; i < n; i++) {
		make_request(&r, &all[i]);
		push(&all[i]);
	}
	struct epoll_event events[EVENTS];
	while (clock_mono_ns() < r.end_ns) {
		int ready = epoll_wait(epoll, events, EVENTS, 100);
		for (int i = 0; i < ready; i++)
			pull(&r, events[i].data.ptr);
	}
	double seconds = (double)(clock_mono_ns() - start) / 1e9;
	printf("{\"requests\":%llu,\"errors\":%llu,\"seconds\":%.3f,\"per_s\":%.0f,\"p50_ms\":%.2f,\"p99_ms\":%.2f}\n", (unsigned long long)r.requests,
	       (unsigned long long)r.errors, seconds, (double)r.requests / seconds, quantile_ms(&r, 0.5), quantile_ms(&r, 0.99));
	for (size_t i = 0; i < n; i++) {
		close(all[i].fd);
		buf_done(&all[i].out);
	}
	free(all);
	buf_done(&r.body);
	return 0;
}
