/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP client against a real HTTP/2 server (Node's, with a certificate made for the test): HTTP/2 is spoken where it is offered, calls at the
 * same time share a connection, and a certificate that is not trusted is refused. Skipped where there is no node or openssl command.
 */
#include "tests/lib/httpscript.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"

#define CALLS 20

static char folder[] = "/tmp/millrace-h2-XXXXXX";
static struct arena arena;
static pid_t server;
static int server_stdin = -1, port;

static const char *in_folder(const char *name)
{
	return arena_printf(&arena, "%s/%s", folder, name).p;
}

static pid_t spawn(const char *const *argv, int stdin_fd)
{
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(stdin_fd >= 0 ? stdin_fd : null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	return pid;
}

static int make_server(void **state)
{
	int status = 0, ends[2];
	(void)state;
	arena_init(&arena, 1 << 20);
	if (!mkdtemp(folder) || pipe(ends) < 0 || fcntl(ends[1], F_SETFD, FD_CLOEXEC) < 0)
		return -1;
	const char *const make_cert[] = { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		                          "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", in_folder("key"), "-out",
		                          in_folder("cert"), NULL };
	waitpid(spawn(make_cert, -1), &status, 0);
	const char *const node[] = { "node", "tests/lib/h2server.mjs", in_folder("key"), in_folder("cert"), in_folder("port"), NULL };
	server = status == 0 ? spawn(node, ends[0]) : -1;
	close(ends[0]);
	server_stdin = ends[1];
	for (int i = 0; server > 0 && port == 0 && i < 2000; i++) {
		struct str text;
		uint64_t n;
		if (file_read(in_folder("port"), 100, &arena, &text, NULL) == 0 && str_u64(text, 1, 65535, &n) == 0)
			port = (int)n;
		else if (waitpid(server, NULL, WNOHANG) == server)
			server = -1;
		else
			usleep(5000);
	}
	return 0;
}

static int drop_server(void **state)
{
	(void)state;
	close(server_stdin);
	if (server > 0)
		waitpid(server, NULL, 0);
	static const char *const files[] = { "key", "cert", "port" };
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		unlink(in_folder(files[i]));
	rmdir(folder);
	arena_done(&arena);
	return 0;
}

static const char *url(void)
{
	return arena_printf(&arena, "https://localhost:%d/", port).p;
}

static void trust(const char *ca_file)
{
	struct http_client_cfg cfg = { .connections = 100, .per_host = 100, .idle_ms = 10000, .ca_file = ca_file, .user_agent = "test" };
	hs_drop_client();
	hs_make_client(&cfg);
}

static void prepare(struct http_call *c)
{
	hs_call_prepare(c, "/");
	c->url = url();
	c->body = STR("hello");
}

static void test_http_client_speaks_http2_where_it_is_offered_and_shares_the_connection(void **state)
{
	static struct http_call calls[CALLS];
	(void)state;
	if (port == 0)
		skip();
	trust(in_folder("cert"));
	struct http_call first;
	prepare(&first);
	assert_int_equal(hs_call_run(&first), 0);
	hs_assert_answer(&first, "2.0 1 5");
	http_call_done(&first);
	hs.done_calls = 0;
	for (size_t i = 0; i < CALLS; i++) {
		prepare(&calls[i]);
		assert_int_equal(http_call_start(hs.client, &calls[i], NULL), 0);
	}
	hs_wait_for(&hs.done_calls, CALLS);
	for (size_t i = 0; i < CALLS; i++) {
		hs_assert_answer(&calls[i], "2.0 1 5");
		http_call_done(&calls[i]);
	}
}

static void test_http_client_a_certificate_that_is_not_trusted_is_network(void **state)
{
	(void)state;
	if (port == 0)
		skip();
	trust(NULL);
	struct http_call c;
	prepare(&c);
	assert_int_equal(hs_call_run(&c), -ERR_NETWORK);
	assert_false(c.sent);
	http_call_done(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HS_TEST(speaks_http2_where_it_is_offered_and_shares_the_connection),
		HS_TEST(a_certificate_that_is_not_trusted_is_network),
	};
	return cmocka_run_group_tests(tests, make_server, drop_server);
}
