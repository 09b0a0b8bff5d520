/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which limits a call needs: those of its target (the provider's, times headroom), and those of the tiers that everybody, its tenant, key, user and
 * feature have. A group is all limits of one of these, found by one lookup under "target:NAME", "global", "tenant:7", "key:7/PREFIX", "user:7/NAME",
 * "feature:7/NAME"; names of users and features are the tenant's own. A name that is too long, or no text, is there by its hash.
 *
 * Caps are set when a group is met first, and again when the configuration was read again: jobs that began under the old one do not bring its
 * caps back. A target that is no more in the configuration keeps its caps for the jobs that still call it.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "worker/limits/limiter_priv.h"
#include "worker/queue/tenants.h"

#define UNUSED_MS  60000
#define NEEDS_STEP 4 /* room for so many needs at a time */

static const char *const kind_keys[LIMIT_KINDS] = { "requests", "tokens", "input_tokens", "output_tokens", "concurrency" };
static const char *const scope_keys[LIMIT_SCOPES] = { [SCOPE_TENANT] = "tenant", [SCOPE_KEY] = "key", [SCOPE_USER] = "user",
	                                              [SCOPE_FEATURE] = "feature", [SCOPE_GLOBAL] = "global", [LIMIT_SCOPE_TARGET] = "target" };

#define OF_SCOPE(z, Z)                                                                                                                    \
	[Z] = { [LIMIT_REQUESTS] = z " requests per minute", [LIMIT_TOKENS] = z " tokens per minute",                                      \
		[LIMIT_INPUT] = z " input tokens per minute", [LIMIT_OUTPUT] = z " output tokens per minute", [LIMIT_CALLS] = z " calls at once" }
static const char *const which[LIMIT_SCOPES][LIMIT_KINDS] = {
	OF_SCOPE("the tenant's", SCOPE_TENANT),   OF_SCOPE("the key's", SCOPE_KEY),	OF_SCOPE("the user's", SCOPE_USER),
	OF_SCOPE("the feature's", SCOPE_FEATURE), OF_SCOPE("everybody's", SCOPE_GLOBAL), OF_SCOPE("the target's", LIMIT_SCOPE_TARGET),
};
#define LABELS(z, Z)                                                                                                                         \
	[Z] = { [LIMIT_REQUESTS] = z ".requests", [LIMIT_TOKENS] = z ".tokens", [LIMIT_INPUT] = z ".input_tokens", [LIMIT_OUTPUT] = z ".output_tokens", \
		[LIMIT_CALLS] = z ".concurrency" }
static const char *const labels[LIMIT_SCOPES][LIMIT_KINDS] = {
	LABELS("tenant", SCOPE_TENANT),   LABELS("key", SCOPE_KEY),       LABELS("user", SCOPE_USER),
	LABELS("feature", SCOPE_FEATURE), LABELS("global", SCOPE_GLOBAL), LABELS("target", LIMIT_SCOPE_TARGET),
};

const char *limit_which(const struct limit *k)
{
	return which[k->group->scope][k->kind];
}

const char *limit_label(const struct limit *k)
{
	return labels[k->group->scope][k->kind];
}

void limit_key(const struct limit *k, struct buf *b)
{
	buf_add_str(b, k->group->key);
	buf_add_char(b, ':');
	buf_add_z(b, kind_keys[k->kind]);
}

/* --- keys --- */

struct key {
	char p[LIMIT_GROUP_KEY];
	size_t n;
};

static void key_add(struct key *k, struct str s)
{
	assert(k->n + s.n <= sizeof k->p);
	memcpy(k->p + k->n, s.p, s.n);
	k->n += s.n;
}

static void key_add_number(struct key *k, int64_t v)
{
	char digits[20];
	size_t n = 0;
	uint64_t rest = (uint64_t)MAX(v, 0);
	do {
		digits[sizeof digits - ++n] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest);
	key_add(k, (struct str){ digits + sizeof digits - n, n });
}

static bool is_plain(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20)
			return false;
	return str_is_utf8(s);
}

/* The name where it fits and is text, else "#" and 32 hex digits of its hash (a name may begin with # too: then it is hashed as well). */
static void key_add_name(struct key *k, struct str name)
{
	if (name.n > 0 && name.n <= sizeof k->p - k->n && name.p[0] != '#' && is_plain(name)) {
		key_add(k, name);
		return;
	}
	uint8_t sum[SHA256_LEN];
	char hex[33] = "#";
	crypto_sha256(name, sum);
	for (size_t i = 0; i < 16; i++) {
		hex[1 + 2 * i] = "0123456789abcdef"[sum[i] >> 4];
		hex[2 + 2 * i] = "0123456789abcdef"[sum[i] & 15];
	}
	key_add(k, (struct str){ hex, sizeof hex });
}

static void key_make(struct key *k, int scope, int64_t tenant_id, struct str name)
{
	k->n = 0;
	key_add(k, str_from(scope_keys[scope]));
	if (scope == SCOPE_GLOBAL)
		return;
	key_add(k, STR(":"));
	if (scope != LIMIT_SCOPE_TARGET)
		key_add_number(k, tenant_id);
	if (scope == SCOPE_TENANT)
		return;
	if (scope != LIMIT_SCOPE_TARGET)
		key_add(k, STR("/"));
	key_add_name(k, name);
}

/* --- groups --- */

static struct limit_group *group_new(struct limiter *l, int scope, struct str key, struct str name)
{
	struct limit_group *g = calloc(1, sizeof *g + key.n + name.n);
	assert(g);
	g->scope = scope;
	memcpy(g->bytes, key.p, key.n);
	if (name.n)
		memcpy(g->bytes + key.n, name.p, name.n);
	g->key = (struct str){ g->bytes, key.n };
	g->name = (struct str){ g->bytes + key.n, name.n };
	hash_set(&l->groups, key, g);
	return g;
}

static struct limit *limit_new(struct limit_group *g, enum limit_kind kind, uint64_t now_ms)
{
	struct limit *k = calloc(1, sizeof *k);
	assert(k);
	k->group = g;
	k->kind = kind;
	k->lower = -1;
	k->typical = 1;
	k->call_ms = 1000;
	k->rate_ms = k->peak_ms = now_ms;
	list_init(&k->waiters);
	g->limits[kind] = k;
	return k;
}

static int64_t cap_of(const struct conf_limits *c, enum limit_kind kind, int64_t permille)
{
	const int64_t caps[LIMIT_KINDS] = { [LIMIT_REQUESTS] = c->requests, [LIMIT_TOKENS] = c->tokens, [LIMIT_INPUT] = c->input_tokens,
		                            [LIMIT_OUTPUT] = c->output_tokens, [LIMIT_CALLS] = c->concurrency };
	int64_t cap = MIN(caps[kind], (int64_t)1000000000000);
	return cap <= 0 ? 0 : MAX(1, cap * permille / 1000);
}

static void group_set_caps(struct limiter *l, struct limit_group *g, const struct conf_limits *c, int64_t permille)
{
	for (enum limit_kind kind = 0; kind < LIMIT_KINDS; kind++) {
		int64_t cap = c ? cap_of(c, kind, permille) : 0;
		struct limit *k = g->limits[kind];
		if (!k && cap > 0)
			k = limit_new(g, kind, clock_mono_ms());
		if (!k || k->cap == cap)
			continue;
		k->cap = cap;
		k->next_ask_ms = 0;
		if (k->waiters.n > 0)
			loop_soon(l->worker->loop, &l->serve);
	}
}

static struct limit_group *group_find(struct limiter *l, int scope, int64_t tenant_id, struct str name, const struct conf_limits *c, int64_t permille)
{
	static const struct conf_limits none;
	struct key key;
	if (memcmp(c, &none, sizeof none) == 0)
		return NULL;
	key_make(&key, scope, tenant_id, name);
	struct str text = { key.p, key.n };
	struct limit_group *g = hash_get(&l->groups, text);
	if (!g) {
		g = group_new(l, scope, text, name);
		group_set_caps(l, g, c, permille);
	}
	g->used_ms = loop_now_ms(l->worker->loop);
	return g;
}

struct limit_group *limiter_target_group(struct limiter *l, const struct conf_target *target)
{
	return target ? group_find(l, LIMIT_SCOPE_TARGET, 0, target->name, &target->limits, target->headroom_permille) : NULL;
}

/* --- what a call needs --- */

static void add_needs(const struct limit_group *g, const struct limit_ask *ask, struct limit_ticket *t)
{
	int64_t in = MAX(ask->input_tokens, 0), out = MAX(ask->output_tokens, 0);
	const int64_t amounts[LIMIT_KINDS] = { [LIMIT_REQUESTS] = 1, [LIMIT_TOKENS] = in + out, [LIMIT_INPUT] = in, [LIMIT_OUTPUT] = out, [LIMIT_CALLS] = 1 };
	if (!g)
		return;
	for (enum limit_kind kind = 0; kind < LIMIT_KINDS; kind++) {
		struct limit *k = g->limits[kind];
		if (!k || k->cap == 0)
			continue;
		assert(t->n < LIMIT_NEEDS_MAX);
		if (t->n % NEEDS_STEP == 0)
			t->needs = realloc(t->needs, (size_t)(t->n + NEEDS_STEP) * sizeof *t->needs);
		assert(t->needs);
		t->needs[t->n++] = (struct limit_need){ .limit = k, .amount = amounts[kind] };
		if (kind == LIMIT_CALLS)
			k->longest_ms = MAX(k->longest_ms, ask->call_ms);
	}
}

static void add_scope(struct limiter *l, enum conf_scope scope, struct str name, const struct limit_ask *ask, struct limit_ticket *t)
{
	const struct conf *c = l->conf;
	if (c->ntier_of[scope] == 0 || (name.n == 0 && scope != SCOPE_TENANT))
		return;
	const struct conf_tier *tier = conf_tier_find(c, scope, name);
	if (tier)
		add_needs(group_find(l, scope, ask->tenant_id, name, &tier->limits, 1000), ask, t);
}

bool limiter_needs(struct limiter *l, const struct limit_ask *ask, struct limit_ticket *t)
{
	struct str tenant = ask->tenant;
	t->limiter = l;
	t->call_ms = ask->call_ms;
	t->n = 0;
	t->needs = NULL;
	if (l->conf != conf_now())
		limiter_refresh(l);
	if (!tenant.p && l->conf->ntier_of[SCOPE_TENANT] > 0 && l->worker->tenants) {
		tenant = tenant_name(l->worker->tenants, ask->tenant_id);
		if (!tenant.p)
			return false;
	}
	add_needs(limiter_target_group(l, ask->target), ask, t);
	add_scope(l, SCOPE_GLOBAL, STR("*"), ask, t);
	add_scope(l, SCOPE_TENANT, tenant, ask, t);
	add_scope(l, SCOPE_KEY, ask->key_prefix, ask, t);
	add_scope(l, SCOPE_USER, ask->user, ask, t);
	add_scope(l, SCOPE_FEATURE, ask->feature, ask, t);
	return true;
}

/* --- reload and sweep --- */

/* A target of any_model is named "PROVIDER/MODEL". */
static const struct conf_target *target_named(const struct conf *c, struct str name)
{
	for (size_t i = 0; i < c->ntargets; i++)
		if (str_eq(c->targets[i].name, name))
			return &c->targets[i];
	const struct conf_target *any = c->any_model;
	return any && name.n > any->provider.n && name.p[any->provider.n] == '/' && str_has_prefix(name, any->provider) ? any : NULL;
}

void limiter_refresh(struct limiter *l)
{
	size_t at = 0;
	struct str key;
	void *value;
	struct conf *old = l->conf;
	l->conf = conf_now_ref();
	while (hash_next(&l->groups, &at, &key, &value)) {
		struct limit_group *g = value;
		if (g->scope == LIMIT_SCOPE_TARGET) {
			const struct conf_target *target = target_named(l->conf, g->name);
			if (target)
				group_set_caps(l, g, &target->limits, target->headroom_permille);
		} else {
			const struct conf_tier *tier = conf_tier_find(l->conf, (enum conf_scope)g->scope, g->name);
			group_set_caps(l, g, tier ? &tier->limits : NULL, 1000);
		}
	}
	if (old)
		conf_unref(old);
}

static bool is_in_use(const struct limit *k)
{
	return k->asked || k->waiters.n > 0 || k->held > 0 || k->in_use > 0 || k->bucket.left > 0 || k->bucket.owed > 0;
}

static void group_free(struct limiter *l, struct limit_group *g)
{
	for (enum limit_kind kind = 0; kind < LIMIT_KINDS; kind++) {
		if (g->limits[kind])
			list_remove(&l->active, &g->limits[kind]->active);
		free(g->limits[kind]);
	}
	free(g);
}

void limiter_sweep(struct limiter *l, bool all)
{
	size_t at = 0;
	struct str key;
	void *value;
	uint64_t now = loop_now_ms(l->worker->loop);
	while (hash_next(&l->groups, &at, &key, &value)) {
		struct limit_group *g = value;
		bool used = g->refs > 0 || now < g->used_ms + UNUSED_MS;
		for (enum limit_kind kind = 0; kind < LIMIT_KINDS; kind++)
			used = used || (g->limits[kind] && is_in_use(g->limits[kind]));
		assert(!all || g->refs == 0);
		if (used && !all)
			continue;
		hash_remove(&l->groups, key);
		group_free(l, g);
	}
}
