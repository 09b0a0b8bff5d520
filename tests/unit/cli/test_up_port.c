/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses to listen on, and the pure parts of the private PostgreSQL. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/up_port.h"
#include "cli/up_postgres.h"

static void test_up_port_split(void **state)
{
	(void)state;
	const struct {
		const char *text, *host;
		int port;
	} rows[] = {
		{ "127.0.0.1:8080", "127.0.0.1", 8080 },
		{ "localhost:0", "localhost", 0 },
		{ "[::1]:80", "::1", 80 },
		{ "127.0.0.1", NULL, 0 },
		{ ":80", NULL, 0 },
		{ "::1:80", NULL, 0 },
		{ "[]:80", NULL, 0 },
		{ "[::1:80", NULL, 0 },
		{ "h:65536", NULL, 0 },
		{ "h:-1", NULL, 0 },
		{ "h:", NULL, 0 },
		{ "", NULL, 0 },
	};
	struct arena a;
	arena_init(&a, 1 << 16);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *host;
		int port;
		int rc = up_port_split(str_from(rows[i].text), &a, &host, &port);
		assert_int_equal(rc, rows[i].host ? 0 : -ERR_INVALID);
		if (rc == 0) {
			assert_string_equal(host, rows[i].host);
			assert_int_equal(port, rows[i].port);
		}
	}
	arena_done(&a);
}

/* A socket that listens; its port. */
static int listen_somewhere(int *ret_fd, bool reuse_port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	union {
		struct sockaddr_in *in;
		struct sockaddr *any;
	} at = { .in = &sa };
	socklen_t n = sizeof(sa);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	if (reuse_port)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	assert_int_equal(bind(fd, at.any, n), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, at.any, &n), 0);
	*ret_fd = fd;
	return ntohs(sa.sin_port);
}

static void test_up_port_taken_is_seen(void **state)
{
	(void)state;
	for (int reuse = 0; reuse < 2; reuse++) {
		int fd, port = listen_somewhere(&fd, reuse);
		struct arena a;
		struct err err = { 0 };
		const char *chosen;
		arena_init(&a, 1 << 16);
		const char *taken = arena_printf(&a, "127.0.0.1:%d", port).p;
		assert_int_equal(up_port_try("127.0.0.1", port), -ERR_CONFLICT);
		assert_int_equal(up_port_choose(taken, false, &a, &chosen, &err), -ERR_CONFLICT);
		assert_non_null(strstr(err.text, taken));
		assert_int_equal(up_port_choose(taken, true, &a, &chosen, &err), 0);
		assert_string_not_equal(chosen, taken);
		close(fd);
		arena_done(&a);
	}
}

static void test_up_port_any_free_one(void **state)
{
	(void)state;
	struct arena a;
	const char *chosen, *host;
	int port;
	arena_init(&a, 1 << 16);
	assert_int_equal(up_port_choose("127.0.0.1:0", false, &a, &chosen, NULL), 0);
	assert_int_equal(up_port_split(str_from(chosen), &a, &host, &port), 0);
	assert_true(port > 0);
	assert_int_equal(up_port_choose("unix:/tmp/x", false, &a, &chosen, NULL), 0);
	assert_string_equal(chosen, "unix:/tmp/x");
	assert_int_equal(up_port_choose("192.0.2.1:80", true, &a, &chosen, NULL), -ERR_INVALID); /* not ours */
	assert_int_equal(up_port_choose("nonsense", true, &a, &chosen, NULL), -ERR_INVALID);
	arena_done(&a);
}

static void test_up_postgres_url_escapes_the_folder(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 4096);
	assert_int_equal(up_postgres_url(&b, "pw", "/a b/ü&c", 5432, "millrace"), 0);
	assert_true(str_eq_z(buf_str(&b), "postgresql://millrace:pw@/millrace?host=%2Fa%20b%2F%C3%BC%26c&port=5432"));
	buf_done(&b);
}

static void test_up_postgres_memory_follows_the_machine(void **state)
{
	(void)state;
	assert_int_equal(up_postgres_shared_mb(64), 16);
	assert_int_equal(up_postgres_shared_mb(1024), 128);
	assert_int_equal(up_postgres_shared_mb(2048), 256);
	assert_int_equal(up_postgres_shared_mb(1 << 20), 2048);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_up_port_split),
		cmocka_unit_test(test_up_port_taken_is_seen),
		cmocka_unit_test(test_up_port_any_free_one),
		cmocka_unit_test(test_up_postgres_url_escapes_the_folder),
		cmocka_unit_test(test_up_postgres_memory_follows_the_machine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
