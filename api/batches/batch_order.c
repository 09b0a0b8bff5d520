/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every field is a row of a table; one that is not there does not exist. OpenAI's fields mean what they mean there; what goes beyond them stands in the
 * member `millrace`. completion_window takes any duration up to retention.payload, in which requests are kept, where OpenAI knows 24h only.
 */
#include "api/batches/batch_order.h"

#include "common/clock.h"

#define METADATA_PAIRS 16
#define METADATA_KEY   64
#define METADATA_VALUE 512
#define WINDOW_MIN_MS  60000
#define OUTPUT_MIN_S   3600
#define OUTPUT_MAX_S   2592000

struct reader {
	struct arena *a;
	const struct submission_rules *rules;
	struct batch_order *o;
	const char *pointer; /* of the field being read */
	struct err *err;
};

struct field {
	const char *name;
	int (*read)(struct reader *r, json_t *v);
};

static int wanted(struct reader *r, const char *what)
{
	return err_set_at(r->err, ERR_WRONG_TYPE, r->pointer, "wanted %s", what);
}

static int read_members(struct reader *r, json_t *v, const struct field *fields, size_t n)
{
	const char *name, *base = r->pointer;
	json_t *value;
	if (!json_is_object(v))
		return wanted(r, "an object");
	json_object_foreach(v, name, value)
	{
		size_t i = 0;
		while (i < n && !str_eq_z(str_from(fields[i].name), name))
			i++;
		r->pointer = submission_pointer(r->a, base, str_from(name));
		if (i == n)
			return err_set_at(r->err, ERR_UNKNOWN_FIELD, r->pointer, "there is no such field");
		if (!json_is_null(value) && fields[i].read(r, value) < 0)
			return -(int)r->err->code;
	}
	r->pointer = base;
	return 0;
}

static int read_file(struct reader *r, json_t *v)
{
	if (!json_is_string(v))
		return wanted(r, "a string");
	if (id_parse(json_str_of(v), "file-", &r->o->file) < 0)
		return err_set_at(r->err, ERR_NOT_FOUND, r->pointer, "No such File object: " STR_FMT, STR_ARG(str_sub(json_str_of(v), 0, 100)));
	return 0;
}

static int read_endpoint(struct reader *r, json_t *v)
{
	struct str s = json_str_of(v);
	if (!json_is_string(v))
		return wanted(r, "a string");
	r->o->form = batch_endpoint_form(s);
	if (batch_endpoint_is_foreign(s))
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "this endpoint is unsupported here");
	if (!face_of(r->o->form))
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer,
		                  "wanted /v1/chat/completions, /v1/responses, /v1/embeddings or /v1/completions");
	r->o->endpoint = arena_str(r->a, s);
	return 0;
}

static int read_window(struct reader *r, json_t *v)
{
	struct str s = json_str_of(v);
	if (!json_is_string(v))
		return wanted(r, "a string");
	int64_t most = r->rules->conf->retention_payload_ms;
	if (s.n == 0 || s.n > 32 || str_find_char(STR("smhd"), s.p[s.n - 1]) < 0 ||
	    clock_parse_duration_ms(s, WINDOW_MIN_MS, most, &r->o->window_ms) < 0)
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted 24h, or another duration from 1m to retention.payload (%lld hours): 90m, 7d",
		                  (long long)(most / 3600000));
	r->o->completion_window = arena_str(r->a, s);
	return 0;
}

static size_t characters(struct str s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

static int read_metadata(struct reader *r, json_t *v)
{
	const char *key;
	json_t *value;
	if (!json_is_object(v))
		return wanted(r, "an object");
	if (json_object_size(v) > METADATA_PAIRS)
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted at most %d pairs", METADATA_PAIRS);
	json_object_foreach(v, key, value)
	{
		if (!json_is_string(value))
			return wanted(r, "texts as values");
		if (characters(str_from(key)) > METADATA_KEY || characters(json_str_of(value)) > METADATA_VALUE)
			return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "a key has at most %d characters, a value %d", METADATA_KEY,
			                  METADATA_VALUE);
	}
	struct buf b;
	buf_init(&b, 1 << 20);
	int rc = json_write(&b, v);
	if (rc == 0)
		r->o->metadata = arena_str(r->a, buf_str(&b));
	buf_done(&b);
	return rc < 0 ? err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "too large") : 0;
}

static int read_anchor(struct reader *r, json_t *v)
{
	return str_eq(json_str_of(v), STR("created_at")) ? 0 : err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted created_at");
}

static int read_whole(struct reader *r, json_t *v, int min, int max, int *ret)
{
	if (!json_is_integer(v))
		return wanted(r, "a whole number");
	json_int_t n = json_integer_value(v);
	if (n < min || n > max)
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted %d to %d", min, max);
	*ret = (int)n;
	return 0;
}

static int read_seconds(struct reader *r, json_t *v)
{
	return read_whole(r, v, OUTPUT_MIN_S, OUTPUT_MAX_S, &r->o->output_expires_s);
}

static int read_output_expires(struct reader *r, json_t *v)
{
	static const struct field fields[] = { { "anchor", read_anchor }, { "seconds", read_seconds } };
	int rc = read_members(r, v, fields, ARRAY_LEN(fields));
	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(fields); i++)
		if (!json_get(v, fields[i].name))
			return err_set_at(r->err, ERR_MISSING_FIELD, submission_pointer(r->a, r->pointer, str_from(fields[i].name)),
			                  "output_expires_after needs it");
	return rc;
}

static int read_priority(struct reader *r, json_t *v)
{
	return read_whole(r, v, 0, 9, &r->o->priority);
}

static int read_webhook(struct reader *r, json_t *v)
{
	return submission_read_webhook(r->a, r->rules->guard, r->pointer, v, &r->o->webhook_url, r->err);
}

static int read_max_cost(struct reader *r, json_t *v)
{
	if (!json_is_string(v))
		return wanted(r, "US dollars as a string: \"12.50\"");
	if (conf_parse_usd(json_str_of(v), &r->o->max_cost_nanousd) < 0 || r->o->max_cost_nanousd <= 0)
		return err_set_at(r->err, ERR_OUT_OF_RANGE, r->pointer, "wanted more than 0 US dollars with at most nine decimals: \"12.50\"");
	return 0;
}

static int read_dry_run(struct reader *r, json_t *v)
{
	if (!json_is_boolean(v))
		return wanted(r, "true or false");
	r->o->dry_run = json_is_true(v);
	return 0;
}

static int read_millrace(struct reader *r, json_t *v)
{
	static const struct field fields[] = {
		{ "priority", read_priority }, { "webhook", read_webhook }, { "max_cost_usd", read_max_cost }, { "dry_run", read_dry_run }
	};
	return read_members(r, v, fields, ARRAY_LEN(fields));
}

bool batch_order_is(const json_t *body)
{
	return json_get(body, "input_file_id") || json_get(body, "endpoint") || json_get(body, "completion_window");
}

int batch_order_read(struct arena *a, const struct submission_rules *rules, json_t *body, struct batch_order *ret, struct err *err)
{
	static const struct field fields[] = {
		{ "input_file_id", read_file }, { "endpoint", read_endpoint },       { "completion_window", read_window },
		{ "metadata", read_metadata },  { "millrace", read_millrace },       { "output_expires_after", read_output_expires },
	};
	*ret = (struct batch_order){ .priority = 4, .max_cost_nanousd = -1 };
	struct reader r = { .a = a, .rules = rules, .o = ret, .pointer = "", .err = err };
	int rc = read_members(&r, body, fields, ARRAY_LEN(fields));
	for (size_t i = 0; rc == 0 && i < 3; i++)
		if (!json_get(body, fields[i].name) || json_is_null(json_get(body, fields[i].name)))
			return err_set_at(err, ERR_MISSING_FIELD, submission_pointer(a, "", str_from(fields[i].name)), "Missing required parameter: '%s'.",
			                  fields[i].name);
	return rc;
}
