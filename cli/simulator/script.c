/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads scripts, finds a model's rule, and decides per call. The fields stand in one table, from which they are checked
 * and set; a mistake names its JSON pointer. Randomness is a seeded generator per rule, so that a run can be repeated.
 */
#include "cli/simulator/script.h"

#include <stdlib.h>
#include <string.h>

#include "common/crypto.h"

#define MS_MAX 3600000

enum field_kind {
	FIELD_INT,
	FIELD_RATE,
	FIELD_BOOL,
	FIELD_TEXT,
	FIELD_ANY,
	FIELD_OBJECT,
	FIELD_RAW,
	FIELD_HEADERS,
	FIELD_KEY,
	FIELD_GARBAGE,
	FIELD_STATUSES,
	FIELD_CLASS,
	FIELD_STREAM_ERROR
};

struct field {
	const char *name;
	enum field_kind kind;
	size_t offset;
	int64_t min, max;
	bool chooses; /* it says which calls fail */
	bool faults;  /* it is a way to fail */
};

#define AT(member) offsetof(struct rule, member)
static const struct field fields[] = {
	{ "latency_ms", FIELD_INT, AT(latency_ms), 0, MS_MAX, false, false },
	{ "first_token_ms", FIELD_INT, AT(first_token_ms), 0, MS_MAX, false, false },
	{ "between_ms", FIELD_INT, AT(between_ms), 0, MS_MAX, false, false },
	{ "jitter_ms", FIELD_INT, AT(jitter_ms), 0, MS_MAX, false, false },
	{ "error_rate", FIELD_RATE, AT(error_rate), 0, 1, true, false },
	{ "seed", FIELD_INT, AT(seed), 0, INT64_MAX, false, false },
	{ "error_status", FIELD_INT, AT(error_status), 200, 599, false, true },
	{ "error_body", FIELD_ANY, AT(error_body), 0, 0, false, false },
	{ "error_class", FIELD_CLASS, AT(error_class), 0, 0, false, true },
	{ "stream_error", FIELD_STREAM_ERROR, AT(stream_error), 0, 0, false, true },
	{ "fail_first", FIELD_INT, AT(fail_first), 0, INT64_MAX, true, false },
	{ "every", FIELD_INT, AT(every), 0, INT64_MAX, true, false },
	{ "status_sequence", FIELD_STATUSES, AT(status_sequence), 0, 0, true, false },
	{ "hang", FIELD_BOOL, AT(hang), 0, 0, false, true },
	{ "cut_after_bytes", FIELD_INT, AT(cut_after_bytes), 0, INT32_MAX, false, true },
	{ "cut_before_head", FIELD_BOOL, AT(cut_before_head), 0, 0, false, true },
	{ "rst", FIELD_BOOL, AT(rst), 0, 0, false, false },
	{ "garbage", FIELD_GARBAGE, AT(garbage), 0, 0, false, true },
	{ "retry_after", FIELD_INT, AT(retry_after), 0, 86400, false, true },
	{ "no_usage", FIELD_BOOL, AT(no_usage), 0, 0, false, false },
	{ "answer", FIELD_TEXT, AT(answer), 0, 0, false, false },
	{ "echo", FIELD_BOOL, AT(echo), 0, 0, false, false },
	{ "finish_reason", FIELD_TEXT, AT(finish_reason), 0, 0, false, false },
	{ "tool_call", FIELD_BOOL, AT(tool_call), 0, 0, false, false },
	{ "headers", FIELD_HEADERS, AT(headers), 0, 0, false, false },
	{ "thinking", FIELD_TEXT, AT(thinking), 0, 0, false, false },
	{ "cached_tokens", FIELD_INT, AT(cached_tokens), 0, INT32_MAX, false, false },
	{ "usage", FIELD_OBJECT, AT(usage), 0, 0, false, false },
	{ "raw_body", FIELD_RAW, AT(raw_body), 0, 0, false, false },
	{ "raw_stream", FIELD_RAW, AT(raw_stream), 0, 0, false, false },
	{ "require_key", FIELD_KEY, AT(require_key), 0, 0, false, false },
	{ "unknown", FIELD_BOOL, AT(unknown), 0, 0, false, false },
	{ "slow_bytes_per_s", FIELD_INT, AT(slow_bytes_per_s), 1, INT32_MAX, false, false },
	{ "chunk_bytes", FIELD_INT, AT(chunk_bytes), 0, INT32_MAX, false, false },
	{ "limit_requests", FIELD_INT, AT(limit_requests), 0, INT32_MAX, false, false },
	{ "limit_tokens", FIELD_INT, AT(limit_tokens), 0, INT32_MAX, false, false },
	{ "enforce_requests", FIELD_INT, AT(enforce_requests), 0, 100000, false, false },
	{ "enforce_tokens", FIELD_INT, AT(enforce_tokens), 0, INT64_MAX / 4, false, false },
	{ "max_in_flight", FIELD_INT, AT(max_in_flight), 0, INT32_MAX, false, false },
};

static const struct rule defaults = {
	.pattern = "*",
	.error_status = 500,
	.cut_after_bytes = -1,
	.stream_error_bytes = -1,
	.retry_after = -1,
	.enforce_requests = -1,
	.enforce_tokens = -1,
	.max_in_flight = -1,
	.chunk_bytes = 24,
	.limit_requests = 10000,
	.limit_tokens = 2000000,
};

static uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static double random_unit(uint64_t *state)
{
	return (double)(random_next(state) >> 11) / 9007199254740992.0; /* 2^53 */
}

static int set_statuses(struct rule *r, const json_t *v, const char *at, struct err *err)
{
	const json_t *one;
	size_t i;
	if (!json_is_array(v) || json_array_size(v) == 0 || json_array_size(v) > SCRIPT_SEQUENCE_MAX)
		return err_set_at(err, ERR_WRONG_TYPE, at, "%s: wanted a list of 1 to %d statuses", at,
		                  SCRIPT_SEQUENCE_MAX);
	json_array_foreach(v, i, one)
	{
		int64_t status = json_is_integer(one) ? json_integer_value(one) : 0;
		if (status != 200 && (status < 400 || status > 599))
			return err_set_at(err, ERR_OUT_OF_RANGE, at, "%s/%zu: wanted 200, or 400 to 599", at, i);
		r->status_sequence[i] = status;
	}
	r->nsequence = json_array_size(v);
	return 0;
}

static int set_garbage(struct rule *r, const json_t *v, const char *at, struct err *err)
{
	if (json_is_boolean(v))
		r->garbage = json_is_true(v) ? GARBAGE_JSON : GARBAGE_NONE;
	else if (str_eq(json_str_of(v), STR("json")))
		r->garbage = GARBAGE_JSON;
	else if (str_eq(json_str_of(v), STR("sse")))
		r->garbage = GARBAGE_SSE;
	else
		return err_set_at(err, ERR_WRONG_TYPE, at, "%s: wanted true, false, \"json\" or \"sse\"", at);
	return 0;
}

enum error_class error_class_from(struct str word)
{
	static const char *const words[ERROR_CLASSES] = {
		[ERROR_NONE] = "",
		[ERROR_RATE_LIMIT] = "rate_limit",
		[ERROR_OVERLOADED] = "overloaded",
		[ERROR_AUTH] = "auth",
		[ERROR_BILLING] = "billing",
		[ERROR_PERMISSION] = "permission",
		[ERROR_NOT_FOUND] = "not_found",
		[ERROR_CONTEXT_WINDOW] = "context_window",
		[ERROR_CONTENT_FILTER] = "content_filter",
		[ERROR_BAD_REQUEST] = "bad_request",
		[ERROR_TOO_LARGE] = "too_large",
		[ERROR_SERVER_ERROR] = "server_error",
		[ERROR_QUOTA_DAY] = "quota_day",
		[ERROR_TIMEOUT] = "timeout",
		[ERROR_TOO_LARGE_FOR_LIMIT] = "too_large_for_limit",
	};
	for (int i = 1; i < ERROR_CLASSES; i++) {
		if (str_eq_z(word, words[i]))
			return (enum error_class)i;
	}
	return ERROR_NONE;
}

static int set_class(enum error_class *to, const json_t *v, const char *at, struct err *err)
{
	*to = error_class_from(json_str_of(v));
	if (*to == ERROR_NONE)
		return err_set_at(err, ERR_WRONG_TYPE, at,
		                  "%s: wanted rate_limit, overloaded, auth, billing, permission, not_found, "
		                  "context_window, content_filter, bad_request, too_large, too_large_for_limit, "
		                  "server_error, quota_day or timeout",
		                  at);
	return 0;
}

/* "overloaded", or {"class": "overloaded", "after_bytes": 100, "message": "…"}. */
static int set_stream_error(struct rule *r, const json_t *v, const char *at, struct err *err)
{
	const json_t *bytes = json_get(v, "after_bytes"), *message = json_get(v, "message");
	if (!json_is_object(v))
		return set_class(&r->stream_error, v, at, err);
	if ((bytes && (!json_is_integer(bytes) || json_integer_value(bytes) < 0)) ||
	    (message && !json_is_string(message)) || json_object_size(v) != 1u + !!bytes + !!message)
		return err_set_at(err, ERR_WRONG_TYPE, at,
		                  "%s: wanted a class, or {\"class\", \"after_bytes\": 0 or more, \"message\"}", at);
	r->stream_error_bytes = bytes ? json_integer_value(bytes) : -1;
	r->stream_error_message = json_string_value(message);
	return set_class(&r->stream_error, json_get(v, "class"), at, err);
}

static int set_raw(const json_t **to, const json_t *v, const char *at, struct err *err)
{
	struct buf bytes;
	buf_init(&bytes, 64u << 20);
	bool good = json_is_string(v) ||
	            (json_is_string(json_get(v, "base64")) && crypto_base64_decode(&bytes, json_str(v, "base64")) == 0);
	buf_done(&bytes);
	if (!good)
		return err_set_at(err, ERR_WRONG_TYPE, at, "%s: wanted a text, or {\"base64\": \"…\"}", at);
	*to = v;
	return 0;
}

static bool is_plain(const char *z)
{
	while (*z >= ' ' && *z <= '~')
		z++;
	return *z == '\0';
}

static int set_headers(const json_t **to, const json_t *v, const char *at, struct err *err)
{
	const char *name;
	json_t *value;
	bool good = json_is_object(v);
	json_object_foreach((json_t *)(uintptr_t)v, name, value)
	{
		good &= *name && is_plain(name) && !strpbrk(name, " :") && json_is_string(value) &&
		        is_plain(json_string_value(value));
	}
	if (!good)
		return err_set_at(err, ERR_WRONG_TYPE, at, "%s: wanted an object of printable texts", at);
	*to = v;
	return 0;
}

/* The kinds that are more than one value of a type. */
static int set_special(struct rule *r, enum field_kind kind, void *to, const json_t *v, const char *at, struct err *err)
{
	switch (kind) {
	case FIELD_OBJECT:
		if (!json_is_object(v))
			return err_set_at(err, ERR_WRONG_TYPE, at, "%s: wanted an object", at);
		*(const json_t **)to = v;
		return 0;
	case FIELD_HEADERS:
		return set_headers(to, v, at, err);
	case FIELD_RAW:
		return set_raw(to, v, at, err);
	case FIELD_CLASS:
		return set_class(to, v, at, err);
	case FIELD_STREAM_ERROR:
		return set_stream_error(r, v, at, err);
	case FIELD_KEY:
		if (!json_is_boolean(v) && !json_is_string(v))
			return err_set_at(err, ERR_WRONG_TYPE, at, "%s: wanted true, false or the key", at);
		*(const json_t **)to = json_is_false(v) ? NULL : v;
		return 0;
	case FIELD_GARBAGE:
		return set_garbage(r, v, at, err);
	default:
		assert(kind == FIELD_STATUSES);
		return set_statuses(r, v, at, err);
	}
}

static int set_field(struct rule *r, const struct field *f, const json_t *v, const char *at, struct err *err)
{
	void *to = (char *)r + f->offset;
	switch (f->kind) {
	case FIELD_INT:
		if (!json_is_integer(v) || json_integer_value(v) < f->min || json_integer_value(v) > f->max)
			return err_set_at(err, ERR_OUT_OF_RANGE, at, "%s: wanted an integer from %lld to %lld", at,
			                  (long long)f->min, (long long)f->max);
		*(int64_t *)to = json_integer_value(v);
		return 0;
	case FIELD_RATE:
		if (!json_is_number(v) || json_number_value(v) < 0 || json_number_value(v) > 1)
			return err_set_at(err, ERR_OUT_OF_RANGE, at, "%s: wanted a number from 0 to 1", at);
		*(double *)to = json_number_value(v);
		return 0;
	case FIELD_BOOL:
		if (!json_is_boolean(v))
			return err_set_at(err, ERR_WRONG_TYPE, at, "%s: wanted true or false", at);
		*(bool *)to = json_is_true(v);
		return 0;
	case FIELD_TEXT:
		if (!json_is_string(v))
			return err_set_at(err, ERR_WRONG_TYPE, at, "%s: wanted a text", at);
		*(const char **)to = json_string_value(v);
		return 0;
	case FIELD_ANY:
		*(const json_t **)to = v;
		return 0;
	default:
		return set_special(r, f->kind, to, v, at, err);
	}
}

static const struct field *field_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	}
	return NULL;
}

/* at holds the pointer of the rule ("/models/gpt-4"). */
static int read_rule(struct rule *r, const char *pattern, json_t *source, struct buf *at, struct err *err)
{
	const char *name;
	json_t *v;
	size_t here = at->n;
	*r = defaults;
	r->pattern = pattern;
	json_object_foreach(source, name, v)
	{
		const struct field *f = field_of(name);
		buf_truncate(at, here);
		buf_printf(at, "/%s", name);
		if (buf_failed(at) || buf_add_char(at, '\0') < 0)
			return err_set(err, ERR_OUT_OF_RANGE, "a name is too long");
		if (!f)
			return err_set_at(err, ERR_UNKNOWN_FIELD, at->p, "%s: there is no such field", at->p);
		int rc = set_field(r, f, v, at->p, err);
		if (rc < 0)
			return rc;
		r->chosen_by_rule |= f->chooses;
		r->has_fault |= f->faults && !json_is_false(v);
	}
	if (!json_object_get(source, "error_status")) {
		if (r->error_class != ERROR_NONE)
			r->error_status = 0;
		else if (r->retry_after >= 0)
			r->error_status = 429;
	}
	r->random = (uint64_t)r->seed;
	return 0;
}

static const struct rule *rule_by_pattern(const struct script *s, const char *pattern)
{
	for (size_t i = 0; i < s->nrules; i++) {
		if (strcmp(s->rules[i].pattern, pattern) == 0)
			return &s->rules[i];
	}
	return NULL;
}

/* Reads all rules of s->source; those that the patch does not name keep old's counters. */
static int compile(struct script *s, const struct script *old, const json_t *patch, struct err *err)
{
	_cleanup_(buf_done) struct buf at;
	const char *pattern;
	json_t *rule, *models = json_object_get(s->source, "models");
	buf_init(&at, 1000);
	if (json_object_size(models) > SCRIPT_RULES_MAX)
		return err_set_at(err, ERR_OUT_OF_RANGE, "/models", "/models: at most %d rules", SCRIPT_RULES_MAX);
	s->rules = calloc(json_object_size(models) + 1, sizeof(*s->rules));
	if (!s->rules)
		return err_set(err, ERR_INTERNAL, "out of memory");
	json_object_foreach(models, pattern, rule)
	{
		buf_clear(&at);
		buf_printf(&at, "/models/%s", pattern);
		if (strlen(pattern) > 128 || !json_is_object(rule))
			return err_set_at(err, ERR_WRONG_TYPE, "/models",
			                  "/models/%.128s: wanted an object under a name of at most 128 bytes",
			                  pattern);
		struct rule *r = &s->rules[s->nrules];
		int rc = read_rule(r, pattern, rule, &at, err);
		if (rc < 0)
			return rc;
		const struct rule *before = rule_by_pattern(old, pattern);
		if (before && !json_get(json_get(patch, "models"), pattern)) {
			r->calls = before->calls;
			r->random = before->random;
		}
		s->nrules++;
	}
	s->rules[s->nrules++] = defaults;
	return 0;
}

/* Puts the patch's fields over those of source; null takes a field away. */
static int apply(json_t *source, json_t *patch, struct err *err)
{
	const char *name, *field;
	json_t *value, *rule;
	json_t *models = json_object_get(source, "models"), *changes = json_object_get(patch, "models");
	if (!json_is_object(patch))
		return err_set(err, ERR_WRONG_TYPE, "wanted an object with \"models\" or \"reset\"");
	json_object_foreach(patch, name, value)
	{
		if (strcmp(name, "models") != 0 && strcmp(name, "reset") != 0)
			return err_set_at(err, ERR_UNKNOWN_FIELD, "", "/%.100s: there is no such field", name);
	}
	if (json_is_true(json_object_get(patch, "reset")))
		json_object_clear(models);
	if (changes && !json_is_object(changes))
		return err_set_at(err, ERR_WRONG_TYPE, "/models", "/models: wanted an object");
	json_object_foreach(changes, name, rule)
	{
		json_t *there = json_object_get(models, name);
		if (json_is_null(rule)) {
			json_object_del(models, name);
			continue;
		}
		if (!there || !json_is_object(rule)) {
			json_object_set_new(models, name, json_is_object(rule) ? json_object() : json_deep_copy(rule));
			there = json_object_get(models, name);
		}
		json_object_foreach(rule, field, value)
		{
			if (json_is_null(value))
				json_object_del(there, field);
			else
				json_object_set_new(there, field, json_deep_copy(value));
		}
	}
	return 0;
}

static struct script *script_alloc(json_t *source)
{
	struct script *s = calloc(1, sizeof(*s));
	assert(s && source);
	s->refs = 1;
	s->source = source;
	return s;
}

struct script *script_new(void)
{
	struct script *s = script_alloc(json_pack("{s:{}}", "models"));
	s->rules = calloc(1, sizeof(*s->rules));
	assert(s->rules);
	s->rules[s->nrules++] = defaults;
	return s;
}

int script_merge(struct script **s, const json_t *patch, struct err *err)
{
	json_t *copy = json_deep_copy(patch);
	struct script *next = script_alloc(json_deep_copy((*s)->source));
	int rc = apply(next->source, copy, err);
	if (rc == 0)
		rc = compile(next, *s, copy, err);
	json_decref(copy);
	if (rc < 0) {
		script_unref(next);
		return rc;
	}
	script_unref(*s);
	*s = next;
	return 0;
}

struct script *script_ref(struct script *s)
{
	s->refs++;
	return s;
}

void script_unref(struct script *s)
{
	if (!s || --s->refs > 0)
		return;
	json_decref(s->source);
	free(s->rules);
	free(s);
}

bool glob_matches(struct str pattern, struct str text)
{
	size_t p = 0, t = 0, star = SIZE_MAX, retry = 0;
	while (t < text.n) {
		if (p < pattern.n && pattern.p[p] == '*') {
			star = p++;
			retry = t;
		} else if (p < pattern.n && (pattern.p[p] == '?' || pattern.p[p] == text.p[t])) {
			p++;
			t++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			t = ++retry;
		} else {
			return false;
		}
	}
	while (p < pattern.n && pattern.p[p] == '*')
		p++;
	return p == pattern.n;
}

struct rule *script_match(struct script *s, struct str model)
{
	struct rule *best = &s->rules[s->nrules - 1]; /* "*" with the defaults */
	size_t best_n = 0;
	model = str_sub(model, 0, 256);
	for (size_t i = 0; i + 1 < s->nrules; i++) {
		struct str pattern = str_from(s->rules[i].pattern);
		if (str_eq(pattern, model))
			return &s->rules[i];
		if (pattern.n > best_n && glob_matches(pattern, model)) {
			best = &s->rules[i];
			best_n = pattern.n;
		}
	}
	return best;
}

/* Whether this call is to fail; a sequence also says with which status. */
static bool is_chosen(struct rule *r, int *ret_status)
{
	bool chosen = !r->chosen_by_rule && r->has_fault;
	if (r->nsequence > 0) {
		int64_t status = r->status_sequence[MIN(r->calls, (uint64_t)r->nsequence) - 1];
		if (status != 200) {
			*ret_status = (int)status;
			chosen = true;
		}
	}
	chosen |= r->calls <= (uint64_t)r->fail_first;
	chosen |= r->every > 0 && r->calls % (uint64_t)r->every == 0;
	if (r->error_rate > 0)
		chosen |= random_unit(&r->random) < r->error_rate;
	return chosen;
}

void rule_decide(struct rule *r, struct plan *ret)
{
	uint64_t jitter = 0;
	*ret = (struct plan){ .fault = FAULT_NONE, .status = (int)r->error_status };
	r->calls++;
	if (is_chosen(r, &ret->status)) {
		ret->fault = r->hang                   ? FAULT_HANG
		             : r->cut_before_head      ? FAULT_NO_HEAD
		             : r->garbage              ? FAULT_GARBAGE
		             : r->cut_after_bytes >= 0 ? FAULT_CUT
		             : r->stream_error         ? FAULT_STREAM_ERROR
		                                       : FAULT_STATUS;
	}
	if (r->jitter_ms > 0)
		jitter = (uint64_t)((double)r->jitter_ms * random_unit(&r->random));
	ret->before_ms = (uint64_t)r->latency_ms + jitter;
	if (r->jitter_ms > 0)
		jitter = (uint64_t)((double)r->jitter_ms * random_unit(&r->random));
	ret->first_ms = r->first_token_ms > 0 ? (uint64_t)r->first_token_ms + jitter : 0;
}
