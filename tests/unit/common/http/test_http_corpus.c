/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every file of tests/fuzz/corpus/http is one client's bytes; its name begins with the status that it must get
 * (4xx: any refusal, 501 too). Each is sent whole and byte by byte: the answers are the same. A refusal closes, a
 * good request leaves the connection usable, and no refused byte is ever taken for a request. Those named "cut" end
 * in the middle: the client shuts its side.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/metrics.h"
#include "tests/lib/httpapp.h"
#include "tests/lib/rawhttp.h"

#include "tests/fuzz/fuzz_http.c"

#define CORPUS "tests/fuzz/corpus/http"

static struct buf read_corpus(const char *name)
{
	struct buf path, b;
	buf_init(&path, 4096);
	buf_printf(&path, CORPUS "/%s", name);
	buf_add_char(&path, '\0');
	buf_init(&b, 1u << 20);
	FILE *f = fopen(path.p, "rb");
	assert_non_null(f);
	size_t n = fread(buf_room(&b, 1u << 20), 1, 1u << 20, f);
	buf_grown(&b, n);
	fclose(f);
	buf_done(&path);
	return b;
}

static bool is_wanted(const char *name, int status)
{
	uint64_t wanted;
	if (str_has_prefix(str_from(name), STR("4xx")))
		return (status >= 400 && status < 500) || status == 501;
	assert_int_equal(str_u64(str_sub(str_from(name), 0, 3), 100, 599, &wanted), 0);
	return status == (int)wanted;
}

/* The answer's body without what differs each time. */
static void without_id(struct buf *b)
{
	ssize_t at = str_find(buf_str(b), STR("\"request_id\""));
	if (at >= 0)
		buf_truncate(b, (size_t)at);
}

static bool goes_on(struct raw *c)
{
	struct raw_answer next;
	raw_send(c, STR("GET /next HTTP/1.1\r\nHost: a\r\n\r\n"));
	bool ok = raw_answer(c, false, &next) && next.status == 200 &&
	          str_has_prefix(buf_str(&next.body), STR("GET /next\n"));
	raw_answer_done(&next);
	return ok;
}

static bool ends(struct app *a, struct raw *c, const struct raw_answer *ans, size_t heads)
{
	char v[16];
	const char *connection = raw_header(ans, "connection", v, sizeof(v));
	return connection && strcmp(connection, "close") == 0 && raw_wait_eof(c) && a->heads - heads <= 1;
}

/* The answer's body; empty when something was wrong, which is printed. */
static struct buf play(struct app *a, const char *name, struct str bytes, bool by_byte)
{
	struct raw c;
	struct raw_answer ans;
	char id[160], date[64];
	size_t heads = a->heads;
	raw_open(&c, &a->loop, a->port);
	if (by_byte)
		raw_send_bytes(&c, bytes);
	else
		raw_send(&c, bytes);
	if (strstr(name, "cut"))
		raw_shutdown(&c);
	bool ok = raw_answer(&c, false, &ans) && is_wanted(name, ans.status) &&
	          raw_header(&ans, "x-request-id", id, sizeof(id)) && raw_header(&ans, "date", date, sizeof(date)) &&
	          (ans.status == 200 ? goes_on(&c) : ends(a, &c, &ans, heads));
	if (!ok)
		print_message("%s %s: got %s\n", name, by_byte ? "by bytes" : "whole", ans.head);
	raw_done(&c);
	without_id(&ans.body);
	if (!ok)
		buf_clear(&ans.body);
	return ans.body;
}

static bool play_both(struct app *a, const char *name)
{
	struct buf bytes = read_corpus(name);
	struct buf whole = play(a, name, buf_str(&bytes), false);
	struct buf pieces = play(a, name, buf_str(&bytes), true);
	bool ok = whole.n && str_eq(buf_str(&whole), buf_str(&pieces));
	if (!ok)
		print_message("%s: whole: " STR_FMT "\nby bytes: " STR_FMT "\n", name, STR_ARG(whole), STR_ARG(pieces));
	buf_done(&bytes);
	buf_done(&whole);
	buf_done(&pieces);
	return ok;
}

static void test_http_server_corpus_gets_its_status_whole_and_by_bytes(void **state UNUSED)
{
	struct app a;
	struct dirent **names;
	int n = scandir(CORPUS, &names, NULL, alphasort);
	int files = 0, wrong = 0;
	/* Time is another test's matter: on a busy machine the bytes come slowly. */
	struct http_limits patient = app_default_limits;
	patient.head_ms = patient.body_ms = 100000;
	patient.body_min_rate = 1;
	app_start(&a, &patient);
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			files++;
			wrong += !play_both(&a, names[i]->d_name);
		}
		free(names[i]);
	}
	free(names);
	app_stop(&a);
	assert_true(files >= 100);
	assert_int_equal(wrong, 0);
}

static void test_http_server_ends_every_connection_of_the_fuzz_corpus(void **state UNUSED)
{
	struct dirent **names;
	int n = scandir(CORPUS, &names, NULL, alphasort);
	assert_true(n > 2);
	for (int i = 0; i < n; i++) {
		for (int cut = 0; cut <= 255 && names[i]->d_name[0] != '.'; cut += 85) {
			struct buf input, bytes = read_corpus(names[i]->d_name);
			buf_init(&input, 1u << 20);
			buf_add_char(&input, (char)cut);
			buf_add_str(&input, buf_str(&bytes));
			LLVMFuzzerTestOneInput((const uint8_t *)input.p, input.n);
			buf_done(&input);
			buf_done(&bytes);
		}
		free(names[i]);
	}
	free(names);
	app_stop(&fuzz_app);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http_server_corpus_gets_its_status_whole_and_by_bytes),
		cmocka_unit_test(test_http_server_ends_every_connection_of_the_fuzz_corpus),
	};
	metrics_init();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	metrics_done();
	return failed;
}
