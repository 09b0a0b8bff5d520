/* SPDX-License-Identifier: Apache-2.0 */
/* What the files conf*.c share; nobody else includes it. */
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

/* "an object"; whether v has the type, else a mistake; the mistake of an unknown key. */
const char *conf_type_name(const json_t *v);
bool conf_is_type(struct conf_reader *r, const struct conf_path *at, const json_t *v, json_type type,
                  const char *wanted);
void conf_unknown_key(struct conf_reader *r, const struct conf_path *at, const struct nearest *n);

/* --- conf_members.c: objects by tables of their members, and the values that several of them have --- */

/* Reads v, which stands at `at`, into target. A wrong value leaves what is there and a mistake. */
typedef void conf_read_fn(struct conf_reader *r, const struct conf_path *at, json_t *v, void *target);

struct conf_member {
	const char *name;
	conf_read_fn *read;
	size_t offset; /* of read's target in the object's struct */
};
void conf_read_members(struct conf_reader *r, const struct conf_path *at, json_t *object,
                       const struct conf_member *members, size_t n, void *base);
/* The mistake of a member that is not there. */
void conf_need(struct conf_reader *r, const struct conf_path *at, const char *name, bool given);
/* Whether at's key can be the name of a target, route or tier. */
bool conf_is_name(struct conf_reader *r, const struct conf_path *at);
/* "there is no target "x"; did you mean "y"?" */
void conf_unknown_word(struct conf_reader *r, const struct conf_path *at, const char *what, struct str word,
                       const struct nearest *n);

conf_read_fn conf_read_text;  /* into a struct str */
conf_read_fn conf_read_flag;  /* bool */
conf_read_fn conf_read_count; /* int64_t, 1 to CONF_COUNT_MAX */
conf_read_fn conf_read_needs; /* a list of words of request_need_parse into an uint32_t */
#define CONF_COUNT_MAX INT64_C(1000000000000)

/* These say whether the value was good. A number may also be text, so that ${ENV} can give it. */
bool conf_read_int(struct conf_reader *r, const struct conf_path *at, const json_t *v, int64_t min, int64_t max,
                   int64_t *ret);
/* `range`: for the message, "1ms to 24h". */
bool conf_read_duration(struct conf_reader *r, const struct conf_path *at, const json_t *v, int64_t min_ms,
                        int64_t max_ms, const char *range, int64_t *ret_ms);
bool conf_read_choice(struct conf_reader *r, const struct conf_path *at, const json_t *v, const char *const *words,
                      size_t n, int *ret);
/* A list of texts that are not empty, in the snapshot's arena; `what` they are: "a target's name". Those of the wrong type are left out. */
bool conf_read_list(struct conf_reader *r, const struct conf_path *at, const json_t *v, const char *what,
                    struct str **ret, size_t *ret_n);
/* The path of a list's element. */
struct conf_path conf_path_at(struct conf_reader *r, const struct conf_path *up, size_t i);

/* --- the parts of the file; routes name targets and tiers, rates name tiers --- */

void conf_read_targets(struct conf_reader *r, const struct conf_path *at, json_t *v); /* conf_targets.c */
void conf_read_models(struct conf_reader *r, const struct conf_path *at, json_t *v);
void conf_read_tiers(struct conf_reader *r, const struct conf_path *at, json_t *v); /* conf_rates.c */
void conf_read_rates(struct conf_reader *r, const struct conf_path *at, json_t *v);
void conf_read_routes(struct conf_reader *r, const struct conf_path *at, json_t *v); /* conf_routes.c */

/* The tier of that name, or NULL and a mistake. */
const struct conf_tier *conf_tier_named(struct conf_reader *r, const struct conf_path *at, struct str name);

/* Reads the file's text into r->c. */
void conf_read_file_text(struct conf_reader *r, struct str text);

/* --- conf_docs_parts.c: the reference of the parts --- */

void conf_docs_write_defs(struct buf *b);  /* members of $defs, each with a comma behind it */
void conf_docs_write_parts(struct buf *b); /* sections in Markdown */
void conf_docs_add_cell(struct buf *b, const char *z);

#endif
