/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/embeddings (OpenAI: Create embeddings). Providers are asked for numbers whatever the client wants: base64 (little-endian float32, RFC 4648) is made
 * here, so that one kept answer serves both. A provider that answers in base64 of its own accord is read as well.
 */
#include "api/faces/face.h"

#include <endian.h>
#include <string.h>

#include "common/crypto.h"

#define INPUTS_MAX 2048 /* OpenAI: Create embeddings, input */
#define VECTOR_MAX ((size_t)1 << 24)

static int read_format(const json_t *body, bool *ret_base64, struct err *err)
{
	const json_t *format = json_get(body, "encoding_format");
	*ret_base64 = str_eq(json_str_of(format), STR("base64"));
	if (!format || json_is_null(format) || *ret_base64 || str_eq(json_str_of(format), STR("float")))
		return 0;
	return err_set_at(err, json_is_string(format) ? ERR_OUT_OF_RANGE : ERR_WRONG_TYPE, "/encoding_format", "wanted float or base64");
}

static bool are_tokens(const json_t *v)
{
	const json_t *token;
	size_t i;
	json_array_foreach(v, i, token)
		if (!json_is_integer(token) || json_integer_value(token) < 0)
			return false;
	return json_array_size(v) > 0;
}

static int check_inputs(struct arena *a, const json_t *input, struct err *err)
{
	const json_t *one;
	size_t i;
	if (are_tokens(input))
		return 0;
	if (json_array_size(input) > INPUTS_MAX)
		return err_set_at(err, ERR_OUT_OF_RANGE, "/input", "wanted at most %d inputs, got %zu", INPUTS_MAX, json_array_size(input));
	bool texts = json_is_string(json_array_get(input, 0));
	json_array_foreach(input, i, one)
	{
		if (texts ? json_is_string(one) && json_str_of(one).n > 0 : are_tokens(one))
			continue;
		const char *at = arena_printf(a, "/input/%zu", i).p;
		return texts && json_is_string(one) ? err_set_at(err, ERR_OUT_OF_RANGE, at, "the input is empty")
		                                    : err_set_at(err, ERR_WRONG_TYPE, at, "inputs are all texts, or all arrays of tokens");
	}
	return 0;
}

static int check_dimensions(const json_t *body, struct err *err)
{
	const json_t *v = json_get(body, "dimensions");
	if (!v || json_is_null(v))
		return 0;
	if (!json_is_integer(v))
		return err_set_at(err, ERR_WRONG_TYPE, "/dimensions", "wanted a whole number");
	return json_integer_value(v) < 1 || json_integer_value(v) > 1000000 ? err_set_at(err, ERR_OUT_OF_RANGE, "/dimensions", "wanted 1 or more") : 0;
}

static int read_embeddings(struct arena *a, const json_t *body, struct face_request *ret, struct err *err)
{
	static const char *const passed[] = { "input", "dimensions", "user" };
	int rc = face_read_common(body, ret, err);
	rc = rc < 0 ? rc : read_format(body, &ret->base64, err);
	rc = rc < 0 ? rc : check_inputs(a, json_get(body, "input"), err);
	rc = rc < 0 ? rc : check_dimensions(body, err);
	if (rc < 0)
		return rc;
	if (ret->stream)
		return err_set_at(err, ERR_UNSUPPORTED, "/stream", "embeddings are not streamed");
	ret->request = json_object();
	for (size_t i = 0; i < ARRAY_LEN(passed); i++)
		if (json_get(body, passed[i]) && !json_is_null(json_get(body, passed[i])))
			json_object_set(ret->request, passed[i], json_get(body, passed[i]));
	/* The answer's form is kept with the job: a batch's output is written long after its line was read. */
	if (ret->base64) {
		ret->echo = json_object();
		json_set_str(ret->echo, "encoding_format", STR("base64"));
	}
	return 0;
}

/* --- the answer --- */

static void add_float(struct buf *b, float f)
{
	uint32_t bits;
	memcpy(&bits, &f, sizeof(bits));
	bits = htole32(bits);
	buf_add(b, &bits, sizeof(bits));
}

static int write_base64(struct buf *b, const json_t *numbers)
{
	struct buf bytes;
	const json_t *v;
	size_t i;
	buf_init(&bytes, VECTOR_MAX);
	json_array_foreach(numbers, i, v)
		add_float(&bytes, (float)json_number_value(v));
	buf_add_char(b, '"');
	int rc = buf_failed(&bytes) ? -(int)ERR_BAD_OUTPUT : crypto_base64(b, buf_str(&bytes));
	buf_add_char(b, '"');
	buf_done(&bytes);
	return rc;
}

static int write_numbers(struct buf *b, struct str base64)
{
	struct buf bytes;
	buf_init(&bytes, VECTOR_MAX);
	int rc = crypto_base64_decode(&bytes, base64);
	if (rc < 0 || bytes.n % 4 != 0) {
		buf_done(&bytes);
		return -(int)ERR_BAD_OUTPUT;
	}
	_cleanup_(json_drop) json_t *numbers = json_array();
	for (size_t i = 0; i < bytes.n; i += 4) {
		uint32_t bits;
		float f;
		memcpy(&bits, bytes.p + i, sizeof(bits));
		bits = le32toh(bits);
		memcpy(&f, &bits, sizeof(f));
		json_array_append_new(numbers, json_real((double)f));
	}
	bool whole = json_array_size(numbers) * 4 == bytes.n; /* not so when some are no numbers (NaN) */
	buf_done(&bytes);
	return whole ? json_write(b, numbers) : -(int)ERR_BAD_OUTPUT;
}

static int write_vector(struct buf *b, const json_t *v, bool base64)
{
	if (json_is_array(v))
		return base64 ? write_base64(b, v) : json_write(b, v);
	if (!json_is_string(v))
		return -(int)ERR_BAD_OUTPUT;
	return base64 ? buf_add_json_str(b, json_str_of(v)) : write_numbers(b, json_str_of(v));
}

static int write_embeddings(struct buf *b, const struct face_answer *j)
{
	const json_t *data = json_get(j->result, "data"), *usage = json_get(j->result, "usage"), *one;
	bool base64 = str_eq(json_str(j->echo, "encoding_format"), STR("base64"));
	struct str model = json_str(j->result, "model");
	size_t i;
	int rc = json_is_array(data) ? 0 : -(int)ERR_BAD_OUTPUT;
	buf_add_z(b, "{\"object\":\"list\",\"data\":[");
	json_array_foreach(data, i, one)
	{
		if (rc < 0)
			return rc;
		buf_printf(b, "%s{\"object\":\"embedding\",\"index\":%lld,\"embedding\":", i > 0 ? "," : "", (long long)json_i64(one, "index", (int64_t)i));
		rc = write_vector(b, json_get(one, "embedding"), base64);
		buf_add_char(b, '}');
	}
	buf_add_z(b, "],\"model\":");
	buf_add_json_str(b, model.n ? model : j->model);
	int64_t tokens = json_i64(usage, "prompt_tokens", 0);
	buf_printf(b, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}}", (long long)tokens, (long long)json_i64(usage, "total_tokens", tokens));
	return rc;
}

const struct face face_embeddings = {
	.form = FORM_EMBEDDINGS,
	.name = "embeddings",
	.id_prefix = "embd-",
	.kind = SUBMISSION_EMBEDDINGS,
	.read = read_embeddings,
	.write = write_embeddings,
};
