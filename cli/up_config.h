/* SPDX-License-Identifier: Apache-2.0 */
/* Which configuration `millrace up` runs with, and the default one that it writes. */
#ifndef MR_CLI_UP_CONFIG_H
#define MR_CLI_UP_CONFIG_H

#include "common/arena.h"
#include "common/conf.h"
#include "common/err.h"

enum up_provider {
	UP_PROVIDER_SIMULATOR, /* nothing is known: rehearsal, no cost */
	UP_PROVIDER_OPENAI,    /* OPENAI_API_KEY */
	UP_PROVIDER_ANTHROPIC, /* ANTHROPIC_API_KEY */
	UP_PROVIDER_GEMINI,    /* GEMINI_API_KEY */
	UP_PROVIDER_SERVER,    /* MILLRACE_BASE_URL: any server that speaks OpenAI's form */
};

/* What the environment says, NULL or "" when it says nothing. */
struct up_environment {
	const char *base_url;     /* MILLRACE_BASE_URL */
	const char *upstream_key; /* MILLRACE_API_KEY_UPSTREAM */
	const char *model;        /* MILLRACE_MODEL */
	const char *openai_key;   /* OPENAI_API_KEY */
	const char *anthropic_key; /* ANTHROPIC_API_KEY */
	const char *gemini_key;   /* GEMINI_API_KEY */
};

/* MILLRACE_BASE_URL is meant for us, so it goes before the providers' keys, which many environments have anyway. */
enum up_provider up_config_choose(const struct up_environment *e, bool force_simulator);

struct up_config {
	const char *path;     /* absolute */
	bool simulator;       /* start one */
	const char *provider; /* for people: "OpenAI", "the simulator", …; the file's name when it was given */
};

/*
 * given: --config or NULL. Without it DIR/config.json is written, unless it was changed by hand since it was written
 * last. The texts live in a.
 */
int up_config_prepare(const char *dir, const char *given, bool force_simulator, struct arena *a, struct up_config *ret,
                      struct err *err);

/* How long the processes may take to end. */
struct up_graces {
	int64_t server_ms, worker_ms;
};

/* Reads the file as api and worker will, with the environment as it is now. -ERR_CONFIG: *ret_mistakes (in a; may be NULL), and
 * *ret_graces is left alone. */
int up_config_read(const struct up_config *c, struct arena *a, struct up_graces *ret_graces,
                   struct conf_mistake **ret_mistakes, size_t *ret_n);

#endif
