/* SPDX-License-Identifier: Apache-2.0 */
/* What conf.c, conf_read.c and conf_docs.c share; nobody else includes it. */
#ifndef MR_COMMON_CONF_PRIVATE_H
#define MR_COMMON_CONF_PRIVATE_H

#include "common/conf.h"
#include "common/json.h"

struct nearest;

enum conf_type { CONF_INT, CONF_BYTES, CONF_MS, CONF_BOOL, CONF_STR };
enum conf_when { CONF_RELOAD, CONF_RESTART };

/* A row of conf.def. */
struct conf_setting {
	const char *path;
	enum conf_type type;
	size_t offset; /* of its member in struct conf */
	const char *def;
	int64_t min, max;
	enum conf_when when;
	const char *help;
};
extern const struct conf_setting conf_settings[];
extern const size_t conf_settings_n;

/* The words that a STR setting may be, separated by '|'; NULL: any text. */
const char *conf_setting_choices(const struct conf_setting *s);

/* "worker.slots" → MILLRACE_WORKER_SLOTS, made in a. */
const char *conf_env_name(struct arena *a, const struct conf_setting *s);

/* Where a value stands in the file: a chain of keys that lives on the readers' stack. */
struct conf_path {
	const struct conf_path *up; /* NULL at the top */
	struct str key;
};

struct conf_reader {
	struct conf *c;
	struct arena *a; /* of the caller: the mistakes live there */
	struct conf_mistake *mistakes;
	size_t n, cap;
};

/* Adds a mistake; only the first at a path is kept (the others follow from it). */
void conf_mistake_add(struct conf_reader *r, const struct conf_path *at, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Takes a setting's value from text ("30s", "64KiB", "true"). */
void conf_setting_set(struct conf_reader *r, const struct conf_path *at, const struct conf_setting *s, struct str text);

/* Helpers of the readers: "an object"; whether v has the type, else a mistake; the mistake of an unknown key. */
const char *conf_type_name(const json_t *v);
bool conf_is_type(struct conf_reader *r, const struct conf_path *at, const json_t *v, json_type type,
                  const char *wanted);
void conf_unknown_key(struct conf_reader *r, const struct conf_path *at, const struct nearest *n);

/* conf_targets.c; targets go before routes, which name them. */
void conf_read_targets(struct conf_reader *r, const struct conf_path *at, json_t *v);
void conf_read_models(struct conf_reader *r, const struct conf_path *at, json_t *v);
void conf_read_routes(struct conf_reader *r, const struct conf_path *at, json_t *v);

/* Reads the file's text into r->c. */
void conf_read_text(struct conf_reader *r, struct str text);

#endif
