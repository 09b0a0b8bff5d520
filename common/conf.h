/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: one JSON file, ${ENV} in strings for secrets, MILLRACE_* overrides for the simple settings of conf.def. It is read
 * into an immutable snapshot; SIGHUP reads a new one and takes over what may be reloaded. A bad file never replaces a good snapshot; every
 * mistake is reported at once, each with its JSON path.
 *
 *   { "database": {"url": "…"}, "worker": {"slots": 256},
 *     "targets": { "openai/gpt-4o-mini": { "provider": "openai", "model": "gpt-4o-mini", "base_url": "https://api.openai.com/v1",
 *                    "api_key": "${OPENAI_API_KEY}", "headers": {"OpenAI-Organization": "…"}, "stream": true,
 *                    "price": {"input": "0.15", "cached_input": "0.075", "output": "0.60"},     ← US dollars per million tokens
 *                    "timeout": {"first_token": "30s", "total": "120s"} } },
 *     "routes":  { "default": { "targets": ["openai/gpt-4o-mini"] } },
 *     "models":  { "*": {"provider": "openai", "base_url": "…", "api_key": "…"} } }   ← a bare model name as a route of one model
 */
#ifndef MR_COMMON_CONF_H
#define MR_COMMON_CONF_H

#include "common/arena.h"
#include "common/err.h"

struct buf;

struct conf_timeouts {
	int64_t connect_ms, first_ms, between_ms, total_ms; /* 0: the global setting */
};

/* Prices in nano-dollars per million tokens (1 USD = 1,000,000,000); -1: unknown (never 0 by default). */
struct conf_price {
	int64_t input, cached_input, output;
};

struct conf_target {
	struct str name;     /* "openai/gpt-4o-mini" */
	struct str provider; /* the adapter's name: "openai" */
	struct str model;    /* what the provider is asked for */
	struct str base_url; /* without a slash at the end */
	struct str api_key;  /* a secret; "" for none */
	struct conf_header {
		struct str name, value;
	} *headers;
	size_t nheaders;
	struct conf_price price;
	struct conf_timeouts timeouts;
	bool stream;            /* ask for a stream (default true) */
};

struct conf_route {
	struct str name;
	const struct conf_target **targets; /* in order */
	size_t ntargets;
};

struct conf {
	/* The simple settings, from conf.def: int64_t, bool or const char *. */
#define CONF_FIELD_INT(f)   int64_t f;
#define CONF_FIELD_BYTES(f) int64_t f;
#define CONF_FIELD_MS(f)    int64_t f;
#define CONF_FIELD_BOOL(f)  bool f;
#define CONF_FIELD_STR(f)   const char *f;
#define CONF(field, path, type, def, min, max, when, help) CONF_FIELD_##type(field)
#include "common/conf.def"
#undef CONF
	struct conf_target *targets;
	size_t ntargets;
	struct conf_route *routes;
	size_t nroutes;
	const struct conf_target *any_model; /* models."*": the target whose model is replaced by the caller's; or NULL */
	struct str file;                     /* "" when none was read */
	struct arena arena;                  /* owns all of it */
	int refs;
};

/* One mistake in a file. */
struct conf_mistake {
	struct str path; /* "targets.fast.price.input" */
	struct str text; /* "wanted a decimal number of US dollars, got true" */
};

/*
 * Reads file (NULL: none) and the environment. On failure returns -ERR_CONFIG and *ret_mistakes, all of them (arena of the caller). The
 * snapshot has one reference.
 */
int conf_load(const char *file, struct arena *a, struct conf **ret, struct conf_mistake **ret_mistakes, size_t *ret_n);
struct conf *conf_ref(struct conf *c);
void conf_unref(struct conf *c);

/* The process's snapshot; borrowed until the next turn of the loop unless ref'ed. */
const struct conf *conf_now(void);
/* The same with a reference of the caller's. */
struct conf *conf_now_ref(void);
void conf_set_now(struct conf *c); /* takes the reference; the old one is unref'ed */
/* Reads again: new settings marked RELOAD and all targets and routes; the others keep their running values (named in *ret_ignored, comma-separated). */
int conf_reload(struct arena *a, struct str *ret_ignored, struct conf_mistake **ret_mistakes, size_t *ret_n);

/* A route by name, or a route of one target by target name, or one of `any_model` by bare model name (made in a). NULL: none. */
const struct conf_route *conf_route_find(const struct conf *c, struct arena *a, struct str name);

/* Reference pages from the table. */
int conf_write_markdown(struct buf *b);
int conf_write_schema(struct buf *b); /* JSON Schema 2020-12 */

/* Decimal US dollars ("0.15") to nano-dollars, exact, at most 9 decimals. 0 or -ERR_INVALID. */
int conf_parse_usd(struct str s, int64_t *ret_nanousd);

#endif
