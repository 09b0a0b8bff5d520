/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of the HTTP server: arbitrary bytes arrive over a socket pair, in two cuts (the first byte says where),
 * then the client shuts its side. Nothing may crash, leak or hang, and every connection must end.
 *
 *   make BUILT=1 MODE=asan CC=clang BUILD=build-fuzz WARN=-w CFLAGS=-fsanitize=fuzzer-no-link
 * LDFLAGS=-fsanitize=fuzzer-no-link \ build-fuzz/asan/libmillrace.a
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. -Ibuild-fuzz/gen -isystem /usr/share/include/llhttp \
 *       tests/fuzz/fuzz_http.c tests/lib/httpapp.c build-fuzz/asan/libmillrace.a -luv -ljansson -lcrypto -lcurl -lpq -o
 * fuzz_http
 *   ./fuzz_http tests/fuzz/corpus/http
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/http/http_conn.h"
#include "common/metrics.h"
#include "tests/lib/httpapp.h"

#define INPUT_MAX 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct app fuzz_app;
static bool started;

static void turns(int n)
{
	while (n--)
		uv_run(&fuzz_app.loop.uv, UV_RUN_NOWAIT);
}

static void send_all(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent <= 0)
			return;
		p += sent;
		n -= (size_t)sent;
		turns(2);
	}
}

static void drop_answers(int fd)
{
	static char sink[65536];
	while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		turns(1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fds[2];
	if (!size || size > INPUT_MAX)
		return 0;
	if (!started) {
		metrics_init();
		app_start(&fuzz_app, NULL);
		started = true;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	http_server_adopt(fuzz_app.server, fds[0], "fuzz");
	size_t cut = (size_t)data[0] * (size - 1) / 255;
	send_all(fds[1], data + 1, cut);
	send_all(fds[1], data + 1 + cut, size - 1 - cut);
	shutdown(fds[1], SHUT_WR);
	for (int i = 0; i < 10000 && http_server_connections(fuzz_app.server); i++) {
		drop_answers(fds[1]);
		if (fuzz_app.held)
			app_release(&fuzz_app, 200);
		turns(1);
	}
	close(fds[1]);
	turns(4);
	if (http_server_connections(fuzz_app.server))
		abort();
	return 0;
}
