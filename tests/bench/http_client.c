/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures the HTTP client: http_client SECONDS IN_FLIGHT HELD. A child process answers every POST of 2 KB at once; the parent
 * keeps IN_FLIGHT calls going for so long and prints requests per second and its own processor time per request. Then it starts
 * HELD calls that are never answered and prints the memory that each takes. Server and client share the machine.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/http/http_client.h"

#define BODY 2048

static struct loop loop;
static struct http_client *client;
static char url[64], body[BODY];
static uint64_t done_calls, failed, stop_at_ns;
static size_t flying;

static void serve_one(int fd)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"ok\":true}";
	char in[8192];
	ssize_t n = recv(fd, in, sizeof(in), 0);

	if (n <= 0)
		close(fd);
	else if (memcmp(in, "POST /held", 10) != 0 && send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) < 0)
		close(fd);
}

/* A request of 2 KB arrives in one piece on one machine. */
static _Noreturn void serve(int listener)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = listener }, evs[256];
	int ep = epoll_create1(0);

	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
	for (;;) {
		int n = epoll_wait(ep, evs, ARRAY_LEN(evs), -1);
		for (int i = 0; i < n; i++) {
			if (evs[i].data.fd != listener) {
				serve_one(evs[i].data.fd);
				continue;
			}
			ev.data.fd = accept(listener, NULL, NULL);
			epoll_ctl(ep, EPOLL_CTL_ADD, ev.data.fd, &ev);
		}
	}
}

static void call_go(struct http_call *c);

static void on_done(struct op *op, int rc)
{
	struct http_call *c = container_of(op, struct http_call, op);

	done_calls++;
	failed += rc != 0 || c->status != 200;
	http_call_done(c);
	if (clock_mono_ns() < stop_at_ns)
		call_go(c);
	else if (--flying == 0)
		loop_stop(&loop);
}

static void call_go(struct http_call *c)
{
	static const struct http_header headers[] = {
		{ { "Content-Type", 12 }, { "application/json", 16 } },
		{ { "Authorization", 13 }, { "Bearer sk-0123456789012345678901234567890123456789", 50 } },
	};

	http_call_init(c);
	c->method = "POST";
	c->url = url;
	c->headers = headers;
	c->nheaders = ARRAY_LEN(headers);
	c->body = (struct str){ body, BODY };
	c->idle_ms = 30000;
	c->total_ms = 600000;
	c->connect_ms = 60000;
	c->op.on_done = on_done;
	if (http_call_start(client, c, NULL))
		abort();
}

static double rss_kib(void)
{
	char text[256];
	uint64_t pages = 0;
	struct str all, word;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f || !fgets(text, sizeof(text), f))
		abort();
	fclose(f);
	all = str_from(text);
	str_split(&all, ' ', &word);
	str_split(&all, ' ', &word);
	str_u64(word, 0, INT32_MAX, &pages);
	return (double)(pages * (uint64_t)sysconf(_SC_PAGESIZE)) / 1024;
}

static double cpu_us(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1e6 +
	       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
}

static void measure_rate(uint64_t seconds, size_t n)
{
	struct http_call *calls = calloc(n, sizeof(*calls));
	uint64_t from = clock_mono_ns();
	double cpu = cpu_us();

	stop_at_ns = from + seconds * 1000000000;
	flying = n;
	for (size_t i = 0; i < n; i++)
		call_go(&calls[i]);
	while (flying)
		loop_run(&loop);
	printf("%zu in flight: %.0f requests/s, %.1f us of processor time per request, %llu failed\n", n,
	       (double)done_calls * 1e9 / (double)(clock_mono_ns() - from), (cpu_us() - cpu) / (double)done_calls,
	       (unsigned long long)failed);
	free(calls);
}

static void measure_held(size_t n)
{
	struct http_call *calls = calloc(n, sizeof(*calls));
	uint64_t give_up = clock_mono_ns() + 60000000000;
	double before = rss_kib();
	size_t sent = 0;

	memcpy(url + strlen(url) - 1, "/held", 6);
	stop_at_ns = 0;
	flying = n;
	for (size_t i = 0; i < n; i++)
		call_go(&calls[i]);
	while (sent < n && clock_mono_ns() < give_up) {
		uv_run(&loop.uv, UV_RUN_ONCE);
		while (sent < n && calls[sent].connected)
			sent++;
	}
	printf("%zu of %zu sent and held: %.1f KiB each, the call's own struct included\n", sent, n,
	       (rss_kib() - before) / (double)n);
	for (size_t i = 0; i < n; i++)
		op_cancel(&calls[i].op);
	while (flying)
		loop_run(&loop);
	free(calls);
}

static int listen_here(int *ret_port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&in, sizeof(in)) || listen(fd, 4096) ||
	    getsockname(fd, (struct sockaddr *)&in, &len))
		abort();
	*ret_port = ntohs(in.sin_port);
	return fd;
}

int main(int argc, char **argv)
{
	static const struct http_client_cfg cfg = { .connections = 20000, .per_host = 20000, .idle_ms = 60000 };
	uint64_t seconds = 2, in_flight = 256, held = 10000;
	int port, listener = listen_here(&port);
	struct rlimit lim;
	struct buf b;

	if (argc > 1)
		str_u64(str_from(argv[1]), 1, 600, &seconds);
	if (argc > 2)
		str_u64(str_from(argv[2]), 1, 10000, &in_flight);
	if (argc > 3)
		str_u64(str_from(argv[3]), 1, 20000, &held);
	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	pid_t child = fork();
	if (child == 0)
		serve(listener);
	close(listener);

	memset(body, 'x', sizeof(body));
	buf_init(&b, sizeof(url) - 8);
	buf_printf(&b, "http://127.0.0.1:%d/", port);
	memcpy(url, b.p, b.n);
	buf_done(&b);
	loop_init(&loop);
	client = http_client_new(&loop, &cfg);
	measure_rate(seconds, in_flight);
	measure_held(held);
	http_client_free(client, NULL, NULL);
	loop_run(&loop);
	loop_done(&loop);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return 0;
}
