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
#include <string.h>

#include "common/conf.h"
#include "common/provider_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_conf_check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_conf_look_at_target(const struct conf_target *t)
{
	fuzz_conf_check(t->record && str_eq_z(t->provider, t->record->name) && t->base_url.n > 0 && strlen(t->key_id) == 16);
	fuzz_conf_check(t->headroom_permille >= 1 && t->headroom_permille <= 1000);
	fuzz_conf_check(t->limits.requests >= 0 && t->limits.tokens >= 0 && t->limits.concurrency >= 0 && t->price.cache_write >= -1);
}

static void fuzz_conf_look_at_choice(const struct conf_choice *choice)
{
	fuzz_conf_check(choice->ntargets <= CONF_CHOICE_MAX);
	for (size_t i = 0; i < choice->ntargets; i++)
		fuzz_conf_check(choice->targets[i]->model.n > 0 && choice->weights[i] >= 1 && choice->weights[i] <= 1000000);
}

static void fuzz_conf_look_at_route(const struct conf_route *r)
{
	fuzz_conf_check(r->main.ntargets > 0 && r->ntargets == r->main.ntargets && r->targets == r->main.targets);
	fuzz_conf_look_at_choice(&r->main);
	fuzz_conf_look_at_choice(&r->context_window);
	fuzz_conf_look_at_choice(&r->content_policy);
	for (size_t i = 0; i < r->nrules; i++) {
		const struct conf_rule *rule = &r->rules[i];
		fuzz_conf_check(rule->use.ntargets > 0 && rule->input_min <= rule->input_max && rule->complexity_min <= rule->complexity_max);
		fuzz_conf_look_at_choice(&rule->use);
	}
	fuzz_conf_check(r->nladder <= RUNG_COUNT && r->cache_ttl_ms >= 1000 && r->shorten_floor >= 1 && r->ladder_after_ms >= 0);
	for (size_t i = 0; i < r->nladder; i++) {
		fuzz_conf_check(r->ladder[i] != RUNG_SIMPLE_MODEL || r->simple_model);
		fuzz_conf_check(r->ladder[i] != RUNG_STATIC || r->nanswers > 0);
	}
	for (size_t i = 0; i < r->nanswers; i++)
		fuzz_conf_check(r->answers[i].text.n > 0);
}

static void fuzz_conf_look(const struct conf *c, struct arena *a)
{
	fuzz_conf_check(c->job_max_attempts >= 1 && c->queue_heartbeat_ms <= c->queue_lease_ms / 3);
	for (size_t i = 0; i < c->ntargets; i++)
		fuzz_conf_look_at_target(&c->targets[i]);
	for (size_t i = 0; i < c->nroutes; i++) {
		fuzz_conf_check(conf_route_find(c, a, c->routes[i].name) == &c->routes[i]);
		fuzz_conf_look_at_route(&c->routes[i]);
	}
	const struct conf_route *any = conf_route_find(c, a, STR("no-such-model"));
	if (c->any_model)
		fuzz_conf_look_at_target(c->any_model);
	if (any)
		fuzz_conf_look_at_route(any);
	for (size_t scope = 0; scope < SCOPE_COUNT; scope++)
		for (size_t i = 0; i < c->ntier_of[scope]; i++)
			fuzz_conf_check(conf_tier_find(c, (enum conf_scope)scope, c->tier_of[scope][i].name) == c->tier_of[scope][i].tier);
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
