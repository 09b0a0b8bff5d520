/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads one native job body. Every field is a row of a table; what is not in the table does not exist and is refused
 * with its pointer, because a field that is silently ignored is worse than a refusal. Fields of the contract that this
 * release does not carry out are in the table too, as refusals of their own (422). The order of judgement is the order
 * of the members in the body, then what is missing, then what does not fit together.
 */
#include "api/jobs/submission.h"

#include "api/jobs/estimate.h"
#include "common/clock.h"

#define METADATA_PAIRS 16
#define METADATA_KEY   64
#define METADATA_VALUE 512
#define USER_MAX       256
#define ROUTE_MAX      256
#define CACHE_TTL_MAX_S (30 * 24 * 3600)

struct reader {
	struct arena *a;
	const struct submission_rules *rules;
	struct submission *s;
	json_t *request;
	const struct conf_route *route;
	const char *pointer; /* of the field being read */
	struct err *err;
};

struct field {
	const char *name;
	int (*read)(struct reader *r, json_t *v);
};

const char *submission_pointer(struct arena *a, const char *base, struct str key)
{
	struct buf b;
	buf_init(&b, 4096);
	buf_add_z(&b, base);
	buf_add_char(&b, '/');
	for (size_t i = 0; i < key.n; i++) {
		if (key.p[i] == '~')
			buf_add_z(&b, "~0");
		else if (key.p[i] == '/')
			buf_add_z(&b, "~1");
		else
			buf_add_char(&b, key.p[i]);
	}
	const char *z = arena_strz(a, buf_str(&b));
	buf_done(&b);
	return z;
}

static size_t characters(struct str s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

static const char *type_name(const json_t *v)
{
	static const char *const names[] = {
		[JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
		[JSON_INTEGER] = "a number", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
		[JSON_FALSE] = "false",      [JSON_NULL] = "null",
	};
	return names[json_typeof(v)];
}

static int wrong_type(struct reader *r, const char *wanted, const json_t *v)
{
	return err_set_at(r->err, ERR_WRONG_TYPE, r->pointer, "wanted %s, got %s", wanted, type_name(v));
}

static int read_text(struct reader *r, json_t *v, size_t max, struct str *ret)
{
	if (!json_is_string(v))
		return wrong_type(r, "a string", v);
	struct str s = json_str_of(v);
	if (s.n == 0 || characters(s) > max)
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted 1 to %zu characters, got %zu", max,
		                  characters(s));
	*ret = arena_str(r->a, s);
	return 0;
}

static int read_number(struct reader *r, json_t *v, int min, int max, int *ret)
{
	if (!json_is_integer(v))
		return wrong_type(r, "a whole number", v);
	json_int_t n = json_integer_value(v);
	if (n < min || n > max)
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted %d to %d, got %lld", min, max,
		                  (long long)n);
	*ret = (int)n;
	return 0;
}

static int read_time(struct reader *r, json_t *v, int64_t *ret)
{
	if (json_is_null(v))
		return 0;
	if (!json_is_string(v))
		return wrong_type(r, "a time as RFC 3339", v);
	if (clock_parse_rfc3339(json_str_of(v), ret) < 0)
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer,
		                  "wanted a time as RFC 3339: 2026-01-01T00:00:00Z");
	int64_t most_us = r->rules->now_us + r->rules->conf->retention_payload_ms * 1000;
	if (*ret > most_us)
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer,
		                  "that is later than retention.payload, after which requests are dropped");
	return 0;
}

static int read_kind(struct reader *r, json_t *v)
{
	if (!json_is_string(v))
		return wrong_type(r, "a string", v);
	if (str_eq(json_str_of(v), STR("embeddings")))
		r->s->kind = SUBMISSION_EMBEDDINGS;
	else if (!str_eq(json_str_of(v), STR("chat")))
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted chat or embeddings");
	return 0;
}

static int read_route(struct reader *r, json_t *v)
{
	return read_text(r, v, ROUTE_MAX, &r->s->route);
}

static int read_request(struct reader *r, json_t *v)
{
	if (!json_is_object(v))
		return wrong_type(r, "an object", v);
	r->request = v;
	return 0;
}

static int read_priority(struct reader *r, json_t *v)
{
	return read_number(r, v, 0, 9, &r->s->priority);
}

static int read_max_attempts(struct reader *r, json_t *v)
{
	return read_number(r, v, 1, 20, &r->s->max_attempts);
}

static int read_run_at(struct reader *r, json_t *v)
{
	return read_time(r, v, &r->s->run_at_us);
}

static int read_expires_at(struct reader *r, json_t *v)
{
	int rc = read_time(r, v, &r->s->expires_at_us);
	if (rc == 0 && !json_is_null(v) && r->s->expires_at_us <= r->rules->now_us)
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "that time has passed");
	return rc;
}

static int read_user(struct reader *r, json_t *v)
{
	return json_is_null(v) ? 0 : read_text(r, v, USER_MAX, &r->s->user);
}

static int read_metadata(struct reader *r, json_t *v)
{
	if (json_is_null(v))
		return 0;
	if (!json_is_object(v))
		return wrong_type(r, "an object", v);
	if (json_object_size(v) > METADATA_PAIRS)
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted at most %d pairs", METADATA_PAIRS);
	const char *key, *base = r->pointer;
	json_t *value;
	json_object_foreach(v, key, value)
	{
		r->pointer = submission_pointer(r->a, base, str_from(key));
		size_t n = characters(str_from(key));
		if (n < 1 || n > METADATA_KEY)
			return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "a key has 1 to %d characters",
			                  METADATA_KEY);
		if (!json_is_string(value))
			return wrong_type(r, "a string", value);
		if (characters(json_str_of(value)) > METADATA_VALUE)
			return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "a value has at most %d characters",
			                  METADATA_VALUE);
	}
	struct buf b;
	buf_init(&b, 1 << 20);
	int rc = json_write(&b, v);
	if (rc == 0 && json_object_size(v) > 0)
		r->s->metadata = arena_str(r->a, buf_str(&b));
	buf_done(&b);
	return rc < 0 ? err_set_at(r->err, ERR_OUT_OF_RANGE, base, "too large") : 0;
}

int submission_read_webhook(struct arena *a, const struct netguard *guard, const char *pointer, json_t *v,
                            struct str *ret_url, struct err *err)
{
	if (json_is_null(v))
		return 0;
	struct reader r = { .a = a, .pointer = pointer, .err = err };
	if (!json_is_object(v))
		return wrong_type(&r, "an object", v);
	const char *key;
	json_t *value, *url = NULL;
	json_object_foreach(v, key, value)
	{
		r.pointer = submission_pointer(a, pointer, str_from(key));
		if (!str_eq_z(STR("url"), key))
			return err_set_at(err, ERR_UNKNOWN_FIELD, r.pointer, "there is no such field");
		url = value;
	}
	r.pointer = submission_pointer(a, pointer, STR("url"));
	if (!url)
		return err_set_at(err, ERR_MISSING_FIELD, r.pointer, "a webhook needs a URL");
	int rc = read_text(&r, url, 2048, ret_url);
	if (rc < 0)
		return rc;
	struct err why = { 0 };
	rc = netguard_check_url(guard, *ret_url, &why);
	return rc < 0 ? err_set_at(err, why.code ? why.code : (enum err_code) - rc, r.pointer, "%s", why.text) : 0;
}

static int read_webhook(struct reader *r, json_t *v)
{
	return submission_read_webhook(r->a, r->rules->guard, r->pointer, v, &r->s->webhook_url, r->err);
}

static int read_choice(struct reader *r, json_t *v, const char *const *words, size_t n, const char *wanted)
{
	if (!json_is_string(v))
		return wrong_type(r, "a string", v);
	for (size_t i = 0; i < n; i++)
		if (str_eq_z(json_str_of(v), words[i]))
			return 0;
	return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted %s", wanted);
}

static int read_cache_mode(struct reader *r, json_t *v)
{
	if (str_eq(json_str_of(v), STR("semantic")))
		return err_set_at(r->err, ERR_UNSUPPORTED, r->pointer, "this release has no semantic cache");
	return read_choice(r, v, conf_cache_mode_words, ARRAY_LEN(conf_cache_mode_words), "off or exact");
}

/* {"mode": "exact", "ttl": 3600} */
static int read_cache(struct reader *r, json_t *v)
{
	const char *key, *base = r->pointer;
	json_t *value;
	int ttl, rc = 0;
	if (json_is_null(v))
		return 0;
	if (!json_is_object(v))
		return wrong_type(r, "an object", v);
	json_object_foreach(v, key, value)
	{
		r->pointer = submission_pointer(r->a, base, str_from(key));
		if (str_eq_z(STR("mode"), key))
			rc = read_cache_mode(r, value);
		else if (str_eq_z(STR("ttl"), key))
			rc = read_number(r, value, 1, CACHE_TTL_MAX_S, &ttl);
		else
			rc = err_set_at(r->err, ERR_UNKNOWN_FIELD, r->pointer, "there is no such field");
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_on_limit(struct reader *r, json_t *v)
{
	return json_is_null(v) ? 0 : read_choice(r, v, conf_on_limit_words, ARRAY_LEN(conf_on_limit_words), "queue, shorten or fallback");
}

static int read_on_exhausted(struct reader *r, json_t *v)
{
	if (json_is_null(v) || str_eq(json_str_of(v), STR("fail")))
		return 0;
	return read_choice(r, v, conf_rung_words, ARRAY_LEN(conf_rung_words), "fail, stale_cache, simple_model or static");
}

static int read_accept_partial(struct reader *r, json_t *v)
{
	return json_is_null(v) || json_is_boolean(v) ? 0 : wrong_type(r, "true or false", v);
}

static int read_unsupported(struct reader *r, json_t *v)
{
	if (json_is_null(v))
		return 0;
	return err_set_at(r->err, ERR_UNSUPPORTED, r->pointer, "this release does not carry out this field");
}

static const struct field fields[] = {
	{ "request", read_request },
	{ "route", read_route },
	{ "kind", read_kind },
	{ "priority", read_priority },
	{ "max_attempts", read_max_attempts },
	{ "run_at", read_run_at },
	{ "expires_at", read_expires_at },
	{ "user", read_user },
	{ "metadata", read_metadata },
	{ "webhook", read_webhook },
	{ "cache", read_cache },
	{ "prompt", read_unsupported },
	{ "variables", read_unsupported },
	{ "on_limit", read_on_limit },
	{ "on_exhausted", read_on_exhausted },
	{ "accept_partial", read_accept_partial },
};

static int read_field(struct reader *r, const char *base, const char *name, json_t *v)
{
	r->pointer = submission_pointer(r->a, base, str_from(name));
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (str_eq_z(str_from(fields[i].name), name))
			return fields[i].read(r, v);
	return err_set_at(r->err, ERR_UNKNOWN_FIELD, r->pointer, "there is no such field");
}

/* A route or target of the configuration has a lane of its own; all bare model names share one, because outsiders
 * choose them. */
static int find_route(struct reader *r, const char *base)
{
	struct submission *s = r->s;
	const struct conf *conf = r->rules->conf;
	const char *pointer = submission_pointer(r->a, base, STR("route"));
	bool is_given = s->route.p != NULL;
	if (!is_given)
		s->route = STR("default");
	r->route = conf_route_find(conf, r->a, s->route);
	if (!r->route)
		return is_given
		           ? err_set_at(r->err, ERR_UNKNOWN_ROUTE, pointer, "there is no route or model %.*s",
		                        (int)MIN(s->route.n, (size_t)100), s->route.p)
		           : err_set_at(r->err, ERR_MISSING_FIELD, pointer, "there is no route \"default\": name one");
	s->lane = STR("*");
	for (size_t i = 0; i < conf->nroutes; i++)
		if (str_eq(conf->routes[i].name, s->route))
			s->lane = s->route;
	for (size_t i = 0; i < conf->ntargets; i++)
		if (str_eq(conf->targets[i].name, s->route))
			s->lane = s->route;
	return 0;
}

static uint32_t choice_lacks(const struct conf_choice *choice, uint32_t needs, uint32_t least)
{
	for (size_t i = 0; i < choice->ntargets; i++) {
		uint32_t lacks = needs & ~choice->targets[i]->can;
		if (!least || (lacks && __builtin_popcount(lacks) < __builtin_popcount(least)) || !lacks)
			least = lacks;
		if (!least)
			return 0;
	}
	return least;
}

/* Nothing is dropped silently: what no target of the route can take is refused here, by its name and place. */
static int check_route_can(struct reader *r, const char *request)
{
	struct request_facts *f = arena_new(r->a, struct request_facts);
	bool embeddings = r->s->kind == SUBMISSION_EMBEDDINGS;
	request_facts_read(f, r->request, embeddings, r->a);
	r->s->facts = f;
	r->s->estimate_nanousd = estimate_job(r->route, f, r->request, embeddings).nanousd;
	uint32_t lacks = UINT32_MAX;
	for (size_t i = 0; lacks && i < r->route->nrules; i++)
		lacks = choice_lacks(&r->route->rules[i].use, f->needs, lacks);
	if (lacks)
		lacks = choice_lacks(&r->route->main, f->needs, lacks);
	if (!lacks)
		return 0;
	uint32_t bit = lacks & -lacks;
	const char *at = f->pointers[__builtin_ctz(bit)];
	return err_set_at(r->err, ERR_UNSUPPORTED, arena_printf(r->a, "%s%s", request, at ? at : "").p,
	                  "no target of route %.*s takes %s", (int)MIN(r->s->route.n, (size_t)100), r->s->route.p,
	                  request_need_name(bit));
}

/* What can only be judged when all fields are known. */
static int check_whole(struct reader *r, const char *base)
{
	struct submission *s = r->s;
	if (!r->request)
		return err_set_at(r->err, ERR_MISSING_FIELD, submission_pointer(r->a, base, STR("request")),
		                  "a job needs a request");
	int rc = find_route(r, base);
	if (rc < 0)
		return rc;
	if (s->expires_at_us && s->expires_at_us <= s->run_at_us)
		return err_set_at(r->err, ERR_OUT_OF_RANGE, submission_pointer(r->a, base, STR("expires_at")),
		                  "the job would expire before it may run");
	const char *request = submission_pointer(r->a, base, STR("request"));
	rc = submission_check_request(r->a, s->kind, r->request, request, r->err);
	return rc < 0 ? rc : check_route_can(r, request);
}

int submission_read_value(struct arena *a, const struct submission_rules *rules, json_t *v, const char *base,
                          struct submission *ret, struct err *err)
{
	struct submission s = { .priority = 4, .max_attempts = (int)rules->conf->job_max_attempts, .body = ret->body };
	struct reader r = { .a = a, .rules = rules, .s = &s, .pointer = base, .err = err };
	if (!json_is_object(v))
		return wrong_type(&r, "an object", v);
	const char *name;
	json_t *value;
	json_object_foreach(v, name, value)
	{
		int rc = read_field(&r, base, name, value);
		if (rc < 0)
			return rc;
	}
	int rc = check_whole(&r, base);
	if (rc < 0)
		return rc;
	*ret = s;
	return 0;
}

int submission_read(struct arena *a, const struct submission_rules *rules, struct str body, struct submission *ret,
                    struct err *err)
{
	_cleanup_(json_drop) json_t *v = json_parse(body, err);
	if (!v)
		return -(int)ERR_BAD_JSON;
	ret->body = body;
	return submission_read_value(a, rules, v, "", ret, err);
}
