/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration's snapshot: loading, the process's current one, reload.
 *
 * conf_load sets the defaults of conf.def, reads the file (conf_read.c), lays the environment over it and checks what
 * one row of the table cannot say. Any mistake, and there may be many, makes the whole snapshot void: the caller gets
 * the list and keeps what it has.
 *
 * A snapshot never changes and is counted; flows that outlive a turn of the loop take a reference. A reload makes a new
 * snapshot in which the settings that need a restart keep their running values.
 */
#include "common/conf.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/conf_private.h"
#include "common/file.h"

#define FILE_MAX     ((size_t)16 << 20)
#define MISTAKES_MAX 1000

static struct conf *now;

const struct conf_setting conf_settings[] = {
#define CONF(field, path, type, def, min, max, when, help) \
	{ path, CONF_##type, offsetof(struct conf, field), def, min, max, CONF_##when, help },
#include "common/conf.def"
#undef CONF
};
const size_t conf_settings_n = ARRAY_LEN(conf_settings);

const char *conf_setting_choices(const struct conf_setting *s)
{
	static const char *const words[][2] = {
		{ "log.level", "debug|info|warn|error|none" },
		{ "log.format", "json|text" },
	};
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(s->path, words[i][0]) == 0)
			return words[i][1];
	return NULL;
}

/* "worker.slots" → MILLRACE_WORKER_SLOTS, made in a. */
static const char *env_name(struct arena *a, const struct conf_setting *s)
{
	size_t prefix = strlen("MILLRACE_"), n = strlen(s->path);
	char *name = arena_alloc(a, prefix + n + 1);
	memcpy(name, "MILLRACE_", prefix);
	for (size_t i = 0; i < n; i++) {
		char c = s->path[i];
		name[prefix + i] = c == '.' ? '_' : c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
	}
	return name;
}

/* --- mistakes --- */

/* Keys that hold a dot or a space are quoted, so that a path can be read back. */
static void write_path(struct buf *b, const struct conf_path *at)
{
	if (at->up) {
		write_path(b, at->up);
		if (at->up->key.n && at->key.n && at->key.p[0] != '[')
			buf_add_char(b, '.');
	}
	bool odd = at->up && (str_find_char(at->key, '.') >= 0 || str_find_char(at->key, ' ') >= 0);
	if (odd)
		buf_add_json_str(b, at->key);
	else
		buf_add_str(b, at->key);
}

void conf_mistake_add(struct conf_reader *r, const struct conf_path *at, const char *fmt, ...)
{
	if (r->n == MISTAKES_MAX)
		return;
	_cleanup_(buf_done) struct buf path;
	_cleanup_(buf_done) struct buf text;
	buf_init(&path, 4096);
	buf_init(&text, 4096);
	write_path(&path, at);
	for (size_t i = 0; i < r->n; i++)
		if (str_eq(r->mistakes[i].path, buf_str(&path)))
			return;
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	if (r->n == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 16;
		struct conf_mistake *more = arena_array(r->a, struct conf_mistake, cap);
		if (r->n)
			memcpy(more, r->mistakes, r->n * sizeof(*more));
		r->mistakes = more;
		r->cap = cap;
	}
	r->mistakes[r->n++] = (struct conf_mistake){ arena_str(r->a, buf_str(&path)), arena_str(r->a, buf_str(&text)) };
}

/* --- values --- */

int conf_parse_usd(struct str s, int64_t *ret_nanousd)
{
	ssize_t dot = str_find_char(s, '.');
	struct str whole = dot < 0 ? s : str_sub(s, 0, (size_t)dot);
	struct str frac = dot < 0 ? STR("0") : str_sub(s, (size_t)dot + 1, s.n);
	uint64_t dollars, nanos;
	if (str_u64(whole, 0, INT64_MAX, &dollars) || frac.n > 9 || str_u64(frac, 0, 999999999, &nanos))
		return -ERR_INVALID;
	for (size_t i = frac.n; i < 9; i++)
		nanos *= 10;
	int64_t v;
	if (__builtin_mul_overflow((int64_t)dollars, INT64_C(1000000000), &v) ||
	    __builtin_add_overflow(v, (int64_t)nanos, &v))
		return -ERR_INVALID;
	*ret_nanousd = v;
	return 0;
}

static bool choice_is_allowed(const char *choices, struct str text)
{
	struct str rest = str_from(choices), word;
	if (!choices)
		return true;
	while (str_split(&rest, '|', &word))
		if (str_eq(word, text))
			return true;
	return false;
}

static int parse_bytes(struct str text, int64_t *ret)
{
	static const struct {
		const char *unit;
		int shift;
	} units[] = { { "KiB", 10 }, { "MiB", 20 }, { "GiB", 30 } };
	int shift = 0;
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (str_has_suffix(text, str_from(units[i].unit))) {
			shift = units[i].shift;
			text = str_trim(str_sub(text, 0, text.n - 3));
		}
	uint64_t v;
	if (str_u64(text, 0, (uint64_t)INT64_MAX >> shift, &v))
		return -ERR_INVALID;
	*ret = (int64_t)(v << shift);
	return 0;
}

static void set_bool(struct conf_reader *r, const struct conf_path *at, bool *target, struct str text)
{
	if (str_eq_z(text, "true") || str_eq_z(text, "1"))
		*target = true;
	else if (str_eq_z(text, "false") || str_eq_z(text, "0"))
		*target = false;
	else
		conf_mistake_add(r, at, "wanted true or false, got \"" STR_FMT "\"", STR_ARG(text));
}

static void set_number(struct conf_reader *r, const struct conf_path *at, const struct conf_setting *s, struct str text)
{
	static const char *const wanted[] = {
		[CONF_INT] = "a whole number",
		[CONF_BYTES] = "a size (512, \"64KiB\", \"10MiB\")",
		[CONF_MS] = "a duration (\"250ms\", \"30s\", \"5m\", \"2h\", \"30d\"; a bare number is seconds)",
	};
	int64_t v = 0;
	int rc = s->type == CONF_INT     ? str_i64(text, INT64_MIN, INT64_MAX, &v)
	         : s->type == CONF_BYTES ? parse_bytes(text, &v)
	                                 : clock_parse_duration_ms(text, 0, INT64_MAX, &v);
	if (rc) {
		conf_mistake_add(r, at, "wanted %s, got \"" STR_FMT "\"", wanted[s->type], STR_ARG(text));
		return;
	}
	if (v < s->min || v > s->max) {
		const char *unit = s->type == CONF_MS ? " ms" : s->type == CONF_BYTES ? " bytes" : "";
		conf_mistake_add(r, at, STR_FMT " is out of range: wanted %lld to %lld%s", STR_ARG(text),
		                 (long long)s->min, (long long)s->max, unit);
		return;
	}
	*(int64_t *)(void *)((char *)r->c + s->offset) = v;
}

void conf_setting_set(struct conf_reader *r, const struct conf_path *at, const struct conf_setting *s, struct str text)
{
	void *target = (char *)r->c + s->offset;
	switch (s->type) {
	case CONF_INT:
	case CONF_BYTES:
	case CONF_MS:
		set_number(r, at, s, text);
		return;
	case CONF_BOOL:
		set_bool(r, at, target, text);
		return;
	case CONF_STR:
		if (!choice_is_allowed(conf_setting_choices(s), text))
			conf_mistake_add(r, at, "wanted one of %s, got \"" STR_FMT "\"", conf_setting_choices(s),
			                 STR_ARG(text));
		else
			*(const char **)target = arena_strz(&r->c->arena, text);
		return;
	}
}

/* --- loading --- */

static void read_file(struct conf_reader *r, const char *file)
{
	struct arena scratch; /* the text is larger than what is kept of it, and holds secrets that need not stay */
	struct str text;
	struct err err = { 0 };
	const struct conf_path at = { NULL, str_from(file) };
	arena_init(&scratch, 2 * FILE_MAX);
	if (file_read(file, FILE_MAX, &scratch, &text, &err)) {
		struct str why = str_from(err.text); /* begins with the file's name, and so does the mistake */
		size_t name = str_has_prefix(why, at.key) ? at.key.n + 2 : 0;
		conf_mistake_add(r, &at, "cannot be read: %s", err.text + MIN(name, why.n));
	} else {
		conf_read_file_text(r, text);
	}
	arena_done(&scratch);
}

static void read_environment(struct conf_reader *r)
{
	for (size_t i = 0; i < conf_settings_n; i++) {
		const char *name = env_name(&r->c->arena, &conf_settings[i]);
		const char *value = getenv(name);
		if (!value)
			continue;
		const struct conf_path at = { NULL, str_from(name) };
		if (!str_is_utf8(str_from(value)))
			conf_mistake_add(r, &at, "is not UTF-8");
		else
			conf_setting_set(r, &at, &conf_settings[i], str_from(value));
	}
}

static void check_schedule(struct conf_reader *r)
{
	const struct conf_path at = { NULL, STR("webhook.schedule") };
	struct str rest = str_from(r->c->webhook_schedule), part;
	size_t n = 0;
	while (str_split(&rest, ',', &part)) {
		int64_t ms;
		n++;
		if (clock_parse_duration_ms(str_trim(part), 0, INT64_C(2592000000), &ms))
			conf_mistake_add(r, &at, "\"" STR_FMT "\" is not a duration of at most 30d", STR_ARG(part));
	}
	if (n == 0 || n > 32)
		conf_mistake_add(r, &at, "wanted 1 to 32 durations separated by commas");
}

/* What concerns more than one setting, or the form of a text. */
static void check_together(struct conf_reader *r)
{
	const struct conf *c = r->c;
	if (c->queue_heartbeat_ms > c->queue_lease_ms / 3) {
		const struct conf_path at = { NULL, STR("queue.heartbeat") };
		conf_mistake_add(
		    r, &at,
		    "%lld ms is more than a third of queue.lease (%lld ms): one late heartbeat would lose the lease",
		    (long long)c->queue_heartbeat_ms, (long long)c->queue_lease_ms);
	}
	if (c->retry_base_ms > c->retry_max_ms) {
		const struct conf_path at = { NULL, STR("retry.base") };
		conf_mistake_add(r, &at, "is more than retry.max");
	}
	check_schedule(r);
}

int conf_load(const char *file, struct arena *a, struct conf **ret, struct conf_mistake **ret_mistakes, size_t *ret_n)
{
	struct conf *c = calloc(1, sizeof(*c));
	if (!c)
		abort();
	c->refs = 1;
	arena_init(&c->arena, 4 * FILE_MAX);
	struct conf_reader r = { .c = c, .a = a };
	for (size_t i = 0; i < conf_settings_n; i++) {
		const struct conf_path at = { NULL, str_from(conf_settings[i].path) };
		conf_setting_set(&r, &at, &conf_settings[i], str_from(conf_settings[i].def));
	}
	assert(r.n == 0); /* a default of conf.def that its own row refuses */
	if (file) {
		c->file = arena_str(&c->arena, str_from(file));
		read_file(&r, file);
	}
	read_environment(&r);
	check_together(&r);
	*ret_mistakes = r.mistakes;
	*ret_n = r.n;
	if (r.n) {
		conf_unref(c);
		return -ERR_CONFIG;
	}
	*ret = c;
	return 0;
}

/* --- the snapshot --- */

struct conf *conf_ref(struct conf *c)
{
	assert(c->refs > 0);
	c->refs++;
	return c;
}

void conf_unref(struct conf *c)
{
	if (!c)
		return;
	assert(c->refs > 0);
	if (--c->refs)
		return;
	arena_done(&c->arena);
	free(c);
}

const struct conf *conf_now(void)
{
	return now;
}

struct conf *conf_now_ref(void)
{
	return conf_ref(now);
}

void conf_set_now(struct conf *c)
{
	struct conf *old = now;
	now = c;
	conf_unref(old);
}

/* Takes a setting's running value over into the new snapshot; false when it was the same. */
static bool keep_running(struct conf *new, const struct conf *old, const struct conf_setting *s)
{
	void *to = (char *)new + s->offset;
	const void *from = (const char *)old + s->offset;
	if (s->type == CONF_STR) {
		const char *was = *(const char *const *)from;
		if (strcmp(*(const char **)to, was) == 0)
			return false;
		*(const char **)to = arena_strz(&new->arena, str_from(was));
		return true;
	}
	size_t n = s->type == CONF_BOOL ? sizeof(bool) : sizeof(int64_t);
	if (memcmp(to, from, n) == 0)
		return false;
	memcpy(to, from, n);
	return true;
}

int conf_reload(struct arena *a, struct str *ret_ignored, struct conf_mistake **ret_mistakes, size_t *ret_n)
{
	assert(now);
	struct conf *new;
	int rc = conf_load(now->file.n ? arena_strz(a, now->file) : NULL, a, &new, ret_mistakes, ret_n);
	if (rc)
		return rc;
	_cleanup_(buf_done) struct buf ignored;
	buf_init(&ignored, 65536);
	for (size_t i = 0; i < conf_settings_n; i++)
		if (conf_settings[i].when == CONF_RESTART && keep_running(new, now, &conf_settings[i]))
			buf_printf(&ignored, "%s%s", ignored.n ? ", " : "", conf_settings[i].path);
	*ret_ignored = arena_str(a, buf_str(&ignored));
	conf_set_now(new);
	return 0;
}
