/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: one JSON file, ${ENV} in strings for secrets, MILLRACE_* overrides for the simple settings of conf.def. It is read
 * into an immutable snapshot; SIGHUP reads a new one and takes over what may be reloaded. A bad file never replaces a good snapshot; every
 * mistake is reported at once, each with its JSON path.
 *
 *   { "database": {"url": "…"}, "worker": {"slots": 256},
 *     "tiers":   { "free": {"requests": 60, "tokens": 100000, "concurrency": 5, "submit": 120, "max_depth": 10000} },
 *     "limits":  …the settings of conf.def…,
 *     "rates":   { "global": "tier", "tenants": {"acme": "paid", "*": "free"}, "keys": {}, "users": {"*": "free"}, "features": {} },
 *     "targets": { "openai/gpt-4o-mini": { "provider": "openai", "model": "gpt-4o-mini", "base_url": "https://api.openai.com/v1",
 *                    "api_key": "${OPENAI_API_KEY}", "headers": {"OpenAI-Organization": "…"}, "stream": true,
 *                    "price": {"input": "0.15", "cached_input": "0.075", "output": "0.60"},     ← US dollars per million tokens
 *                    "timeout": {"first_token": "30s", "total": "120s"},
 *                    "limits": {"requests": 500, "tokens": 200000, "input_tokens": …, "output_tokens": …, "concurrency": 50, "headroom": 0.8},
 *                    "context_tokens": 128000, "max_output_tokens": 16384, "can": ["pdf"], "cannot": ["images"], "place": "eu",
 *                    "prompt_cache": true, "api_version": "…", "region": "…", "access_key": "…", "secret_key": "…", "session_token": "…" } },
 *     "routes":  { "default": { "targets": ["openai/gpt-4o-mini", {"target": "b", "weight": 3}],
 *                    "choose": "ordered" | "weighted" | "least_cost" | "least_latency" | "least_busy",
 *                    "rules": [{"name": "big", "when": {"metadata": {"feature": "invoices"}, "users": [], "tiers": [], "input_tokens": {"min": 1, "max": 9},
 *                               "complexity": {"min": 50}, "needs": ["pdf"], "needs_not": ["tools"], "latency": "interactive" | "batch"},
 *                               "targets": ["b"], "choose": "ordered"}],
 *                    "context_window": ["big"], "content_policy": ["other"], "fallback_on_bad_request": false,
 *                    "cache": {"mode": "off" | "exact", "ttl": "1h", "namespace": ""}, "affinity": true,
 *                    "on_limit": "queue" | "shorten" | "fallback", "shorten_floor": 64, "accept_partial": false,
 *                    "ladder": ["stale_cache", "simple_model", "static"], "ladder_after": "0s", "simple_model": "small",
 *                    "static": "one text" | [{"match": "refund money back", "text": "…"}, {"match": "", "text": "…"}] } },
 *     "models":  { "*": {"provider": "openai", "base_url": "…", "api_key": "…"} } }   ← a bare model name as a route of one model
 */
#ifndef MR_COMMON_CONF_H
#define MR_COMMON_CONF_H

#include "common/arena.h"
#include "common/err.h"

struct buf;
struct provider_record;

struct conf_timeouts {
	int64_t connect_ms, first_ms, between_ms, total_ms; /* 0: the global setting */
};

/* Prices in nano-dollars per million tokens (1 USD = 1,000,000,000); -1: unknown (never 0 by default). */
struct conf_price {
	int64_t input, cached_input, output;
	int64_t cache_write; /* tokens written into the provider's prompt cache; -1: as input */
};

/* Per minute, and calls at once; 0: no limit. `tokens` counts input and output together. */
struct conf_limits {
	int64_t requests, tokens, input_tokens, output_tokens, concurrency;
};

struct conf_target {
	struct str name;     /* "openai/gpt-4o-mini" */
	struct str provider; /* "openai", "azure", "anthropic", …: a row of provider_record.def */
	const struct provider_record *record; /* of provider; never NULL */
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
	struct str api_version; /* azure: "2024-10-21"; "" where the path needs none */
	struct str region, access_key, secret_key, session_token; /* bedrock; the keys are secrets; "" with a bearer api_key */
	struct str place;       /* free text ("eu"), for rules that name places */
	char key_id[17];        /* 16 hex digits that name provider key and endpoint without showing them */
	int64_t context_tokens; /* 0: unknown */
	int64_t max_output_tokens; /* 0: unknown; given to providers that must be told one */
	uint32_t can;           /* NEED_ bits: what it takes */
	struct conf_limits limits; /* as the provider states them; used at limits_headroom */
	int64_t headroom_permille; /* 800 */
	bool prompt_cache;      /* mark the static front of requests for the provider's cache (QUIRK_PROMPT_MARKS) */
};

enum conf_choose { CHOOSE_ORDERED, CHOOSE_WEIGHTED, CHOOSE_LEAST_COST, CHOOSE_LEAST_LATENCY, CHOOSE_LEAST_BUSY };

/* Some targets (at most CONF_CHOICE_MAX, all different) and how one of them is chosen. */
#define CONF_CHOICE_MAX 64
struct conf_choice {
	const struct conf_target **targets; /* in order */
	int64_t *weights;                   /* 1 where none is given */
	size_t ntargets;
	enum conf_choose choose;
};

/* A member of `when` that is absent asks for nothing. All that are there must hold. */
struct conf_rule {
	struct str name;            /* "" for none: shown as the reason of the choice */
	struct conf_header *metadata; /* name and value that the job's metadata must have; "*" matches any value, "a*" a prefix */
	size_t nmetadata;
	struct str *users, *tiers;  /* any of them */
	size_t nusers, ntiers;
	int64_t input_min, input_max; /* estimated input tokens; 0 and INT64_MAX */
	int complexity_min, complexity_max; /* 0 and 100 */
	uint32_t needs, needs_not;  /* NEED_ bits that the request has, has not */
	int latency;                /* -1: any; 0 interactive; 1 batch: part of a batch, or of a priority above 5 */
	bool chooses;               /* it says how */
	struct str *places;         /* only targets of one of these serve what the rule holds for, on whatever way they are reached; nplaces 0: of any */
	size_t nplaces;
	struct conf_choice use;     /* the route's main choice where the rule names no targets */
};

/* Whether a target may serve what the rule holds for. rule NULL: any may. */
bool conf_rule_allows(const struct conf_rule *rule, const struct conf_target *t);

enum conf_rung { RUNG_STALE_CACHE, RUNG_SIMPLE_MODEL, RUNG_STATIC, RUNG_COUNT };
enum conf_on_limit { ON_LIMIT_QUEUE, ON_LIMIT_SHORTEN, ON_LIMIT_FALLBACK };
enum conf_cache_mode { CACHE_OFF, CACHE_EXACT };

/* Their words in the configuration, and in jobs. */
extern const char *const conf_rung_words[RUNG_COUNT];
extern const char *const conf_on_limit_words[3];
extern const char *const conf_cache_mode_words[2];

/* A prepared answer: served when the last user message matches its `match` words best; an empty match is the answer to everything else. */
struct conf_static {
	struct str match, text;
};

struct conf_route {
	struct str name;
	const struct conf_target **targets; /* = main.targets */
	size_t ntargets;
	struct conf_choice main;
	struct conf_rule *rules;            /* the first that holds is used in place of main */
	size_t nrules;
	struct conf_choice context_window, content_policy; /* where to go after these failures; ntargets 0: nowhere */
	enum conf_cache_mode cache_mode;
	int64_t cache_ttl_ms;
	struct str cache_namespace;         /* "": each tenant's own */
	enum conf_on_limit on_limit;
	int64_t shorten_floor;              /* tokens of output at least */
	enum conf_rung ladder[RUNG_COUNT];  /* what is served when no target can, in order */
	size_t nladder;
	int64_t ladder_after_ms;            /* how long a job waits for a target before the ladder; 0: not at all */
	const struct conf_target *simple_model;
	struct conf_static *answers;
	size_t nanswers;
	bool affinity;                      /* requests with the same static front go to the same target; default: unless main is weighted */
	bool fallback_on_bad_request;       /* another target is asked after a bad_request, too */
	bool accept_partial;                /* the default of the job's field */
};

/* Who may use how much: a named set of limits. */
struct conf_tier {
	struct str name;
	struct conf_limits limits;
	int64_t submit;    /* submissions (requests at the door) per minute of a key; 0: no limit */
	int64_t max_depth; /* waiting jobs of a tenant; 0: no limit */
};

/* Which tier somebody is of: exact name, else "*". */
struct conf_tier_of {
	struct str name;
	const struct conf_tier *tier;
};
enum conf_scope { SCOPE_TENANT, SCOPE_KEY, SCOPE_USER, SCOPE_FEATURE, SCOPE_GLOBAL, SCOPE_COUNT };

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
	struct conf_tier *tiers;
	size_t ntiers;
	struct conf_tier_of *tier_of[SCOPE_COUNT]; /* SCOPE_GLOBAL has at most one, named "*" */
	size_t ntier_of[SCOPE_COUNT];
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

/* The tier of one of the scope's names, or NULL: no limits. Keys are named by their prefix. */
const struct conf_tier *conf_tier_find(const struct conf *c, enum conf_scope scope, struct str name);

/* Reference pages from the table. */
int conf_write_markdown(struct buf *b);
int conf_write_schema(struct buf *b); /* JSON Schema 2020-12 */

/* Decimal US dollars ("0.15") to nano-dollars, exact, at most 9 decimals. 0 or -ERR_INVALID. */
int conf_parse_usd(struct str s, int64_t *ret_nanousd);

#endif
