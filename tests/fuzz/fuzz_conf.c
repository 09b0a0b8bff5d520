/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of the configuration: whatever the file holds, either there are mistakes, each with a path and a text that can be printed,
 * or there is a configuration whose routes have targets and are found by their names.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_conf.c build/debug/libmillrace.a -luv -ljansson -lcrypto -o fuzz_conf
 *   ./fuzz_conf tests/fuzz/corpus/conf
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_conf_check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_conf_look(const struct conf *c, struct arena *a)
{
	fuzz_conf_check(c->job_max_attempts >= 1 && c->queue_heartbeat_ms <= c->queue_lease_ms / 3);
	for (size_t i = 0; i < c->nroutes; i++) {
		const struct conf_route *r = &c->routes[i];
		fuzz_conf_check(r->ntargets > 0 && conf_route_find(c, a, r->name) == r);
		for (size_t k = 0; k < r->ntargets; k++)
			fuzz_conf_check(r->targets[k]->base_url.n > 0 && r->targets[k]->model.n > 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena a;
	struct conf *c = NULL;
	struct conf_mistake *mistakes = NULL;
	size_t count = 0;
	arena_init(&a, (size_t)64 << 20);
	FILE *file = tmpfile();
	fuzz_conf_check(file && fwrite(data, 1, n, file) == n && fflush(file) == 0);
	int rc = conf_load(arena_printf(&a, "/proc/self/fd/%d", fileno(file)).p, &a, &c, &mistakes, &count);
	fuzz_conf_check((rc < 0) == (count > 0));
	for (size_t i = 0; i < count; i++) {
		fuzz_conf_check(mistakes[i].text.n > 0 && str_is_utf8(mistakes[i].text) && str_is_utf8(mistakes[i].path));
	}
	if (rc == 0) {
		fuzz_conf_look(c, &a);
		conf_unref(c);
	}
	fclose(file);
	arena_done(&a);
	return 0;
}
