/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of the submission: a job that is taken has values inside their ranges, a route that exists and texts that can be stored; one
 * that is refused names a code of 4xx and, where a field is to blame, a JSON pointer to it.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_submission.c build/debug/libmillrace.a -luv -ljansson -lcrypto -o fuzz_submission
 *   ./fuzz_submission tests/fuzz/corpus/submission
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/jobs/submission.h"

#define FUZZ_SUBMISSION_NOW INT64_C(1780272000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_submission_check(bool ok)
{
	if (!ok)
		abort();
}

/* The same for all inputs. */
static struct conf *fuzz_submission_conf(void)
{
	static const char text[] = "{\"targets\":{\"t\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://127.0.0.1:1/v1\"}},"
				   "\"routes\":{\"default\":{\"targets\":[\"t\"]}}}";
	static struct conf *conf;
	struct arena a;
	struct conf_mistake *mistakes;
	size_t n;
	if (conf)
		return conf;
	arena_init(&a, 1 << 20);
	FILE *file = tmpfile();
	fuzz_submission_check(file && fputs(text, file) >= 0 && fflush(file) == 0);
	fuzz_submission_check(conf_load(arena_printf(&a, "/proc/self/fd/%d", fileno(file)).p, &a, &conf, &mistakes, &n) == 0);
	fclose(file);
	arena_done(&a);
	return conf;
}

static void fuzz_submission_look(const struct submission *s, struct str in)
{
	fuzz_submission_check(s->kind == SUBMISSION_CHAT || s->kind == SUBMISSION_EMBEDDINGS);
	fuzz_submission_check(s->priority >= 0 && s->priority <= 9 && s->max_attempts >= 1 && s->max_attempts <= 20);
	fuzz_submission_check(str_eq(s->route, STR("default")) || str_eq(s->route, STR("t")));
	fuzz_submission_check(s->body.p == in.p && s->body.n == in.n && str_is_utf8(s->body));
	/* PostgreSQL takes no NUL in a text. */
	fuzz_submission_check(str_find_char(s->user, '\0') < 0 && str_find_char(s->metadata, '\0') < 0 && str_find_char(s->webhook_url, '\0') < 0);
	fuzz_submission_check(s->expires_at_us == 0 || s->expires_at_us > FUZZ_SUBMISSION_NOW);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena a;
	struct netguard guard;
	struct submission s = { 0 };
	struct err err = { .code = ERR_OK };
	char *copy = malloc(n ? n : 1); /* of exactly that size, so that reading past it is seen */
	fuzz_submission_check(copy != NULL);
	if (n)
		memcpy(copy, data, n);
	struct str in = { copy, n };
	arena_init(&a, (size_t)64 << 20);
	netguard_init(&guard);
	const struct submission_rules rules = { fuzz_submission_conf(), &guard, FUZZ_SUBMISSION_NOW };
	int rc = submission_read(&a, &rules, in, &s, &err);
	if (rc == 0) {
		fuzz_submission_look(&s, in);
	} else {
		int status = err_http_status(rc);
		fuzz_submission_check(rc == -(int)err.code && status >= 400 && status < 500);
		fuzz_submission_check(str_is_utf8(str_from(err.text)) && str_is_utf8(str_from(err.param)));
		fuzz_submission_check(err.param[0] == '\0' || err.param[0] == '/');
	}
	arena_done(&a);
	free(copy);
	return 0;
}
