/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/embeddings: a unit vector for each input, drawn from a generator that is seeded with the SHA-256 of the
 * input: the same text gives the same vector in every process, other texts give nearly orthogonal ones. A shorter
 * vector (dimensions) is the beginning of the longer one, made a unit vector again, as with OpenAI's models.
 */
#include "cli/simulator/openai.h"

#include <stdlib.h>
#include <string.h>

#include "cli/simulator/sim.h"

#define INPUTS_MAX 2048

static struct str embeddings_tag(const json_t *body)
{
	const json_t *input = json_get(body, "input");
	return answer_tag(openai_tag(body),
	                  json_is_array(input) ? json_str_of(json_array_get(input, 0)) : json_str_of(input));
}

static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* By Newton's steps: no need of libm for one root. v > 0. */
static double square_root(double v)
{
	double x = v > 1 ? v : 1;
	for (int i = 0; i < 64; i++)
		x = (x + v / x) / 2;
	return x;
}

static void make_vector(struct str input, float *v, size_t n)
{
	uint8_t hash[SHA256_LEN];
	uint64_t state;
	double sum = 0;
	crypto_sha256(input, hash);
	memcpy(&state, hash, sizeof(state));
	for (size_t i = 0; i < n; i++) {
		uint64_t r = next(&state);
		/* The sum of four evenly spread numbers is nearly normal: no direction is preferred. */
		int64_t four =
		    (int64_t)((r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48)) - 2 * 0xffff;
		v[i] = (float)(four ? four : 1);
		sum += (double)v[i] * (double)v[i];
	}
	double length = square_root(sum);
	for (size_t i = 0; i < n; i++)
		v[i] = (float)((double)v[i] / length);
}

void embedding_write(struct buf *b, struct str text, size_t dimensions, bool base64)
{
	assert(dimensions > 0 && dimensions <= DIMENSIONS_MAX);
	float *v = calloc(dimensions, sizeof(*v));
	assert(v);
	make_vector(text, v, dimensions);
	if (base64) {
		buf_add_char(b, '"');
		crypto_base64(b, (struct str){ (const char *)v, dimensions * sizeof(*v) });
		buf_add_char(b, '"');
	} else {
		for (size_t i = 0; i < dimensions; i++)
			buf_printf(b, "%c%.9g", i ? ',' : '[', (double)v[i]);
		buf_add_char(b, ']');
	}
	free(v);
}

size_t embedding_dimensions(struct str model)
{
	return str_find(model, STR("large")) >= 0 || str_has_prefix(model, STR("gemini")) ? 3072 : 1536;
}

static int add_one(struct call *c, const json_t *input, size_t index, size_t dimensions, bool base64, struct err *err)
{
	struct buf text;
	int rc = 0;
	buf_init(&text, ANSWER_MAX);
	if (json_is_string(input)) {
		buf_add_str(&text, json_str_of(input));
		c->facts.input_tokens += count_tokens(json_str_of(input));
	} else {
		const json_t *token;
		size_t i;
		json_array_foreach(input, i, token)
		{
			if (!json_is_integer(token))
				rc = -ERR_WRONG_TYPE;
			buf_printf(&text, "%lld ", (long long)json_integer_value(token));
		}
		c->facts.input_tokens += (int64_t)json_array_size(input);
	}
	if (rc < 0 || text.n == 0)
		rc = err_set_at(err, ERR_WRONG_TYPE, "input",
		                "Invalid 'input': wanted texts or lists of tokens that are not empty.");
	if (rc == 0) {
		buf_printf(&c->out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", index ? "," : "",
		           index);
		embedding_write(&c->out, buf_str(&text), dimensions, base64);
		buf_add_char(&c->out, '}');
	}
	buf_done(&text);
	return rc;
}

static int read_dimensions(const json_t *body, struct str model, size_t *ret, struct err *err)
{
	const json_t *v = json_get(body, "dimensions");
	*ret = embedding_dimensions(model);
	if (!v || json_is_null(v))
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > DIMENSIONS_MAX)
		return err_set_at(err, ERR_OUT_OF_RANGE, "dimensions",
		                  "Invalid 'dimensions': wanted an integer from 1 to %d.", DIMENSIONS_MAX);
	*ret = (size_t)json_integer_value(v);
	return 0;
}

int embeddings_build(struct call *c, const json_t *body, struct err *err)
{
	const json_t *input = json_get(body, "input"), *one;
	struct str format = json_str(body, "encoding_format");
	bool base64 = str_eq(format, STR("base64"));
	size_t dimensions, i;
	struct str tag = embeddings_tag(body);
	if (tag.p)
		c->facts.tag = arena_str(&c->req->arena, str_sub(tag, 0, STATS_NAME_MAX));
	if (c->model.n == 0)
		return err_set_at(err, ERR_MISSING_FIELD, "model", "you must provide a model parameter");
	if (!input)
		return err_set_at(err, ERR_MISSING_FIELD, "input", "Missing required parameter: 'input'.");
	if (format.p && !base64 && !str_eq(format, STR("float")))
		return err_set_at(err, ERR_INVALID, "encoding_format",
		                  "Invalid 'encoding_format': wanted 'float' or 'base64'.");
	int rc = read_dimensions(body, c->model, &dimensions, err);
	if (rc < 0)
		return rc;
	/* A text, or one list of tokens, is one input; a list of these is many. */
	bool many = json_is_array(input) && !json_is_integer(json_array_get(input, 0));
	if (many && (json_array_size(input) == 0 || json_array_size(input) > INPUTS_MAX))
		return err_set_at(err, ERR_OUT_OF_RANGE, "input", "Invalid 'input': wanted 1 to %d inputs.",
		                  INPUTS_MAX);
	buf_add_z(&c->out, "{\"object\":\"list\",\"data\":[");
	if (!many)
		rc = add_one(c, input, 0, dimensions, base64, err);
	for (i = 0; many && rc == 0 && i < json_array_size(input); i++) {
		one = json_array_get(input, i);
		rc = add_one(c, one, i, dimensions, base64, err);
	}
	if (rc < 0)
		return rc;
	buf_add_z(&c->out, "],\"model\":");
	buf_add_json_str(&c->out, c->model);
	if (!c->rule->no_usage)
		buf_printf(&c->out, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}",
		           (long long)c->facts.input_tokens, (long long)c->facts.input_tokens);
	if (buf_add_char(&c->out, '}') < 0)
		return err_set(err, ERR_TOO_LARGE, "The answer would be too large.");
	return 0;
}
