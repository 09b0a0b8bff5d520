/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Embeddings: a request in OpenAI's form as batchEmbedContents, its answer as OpenAI's list ("Gemini API: embeddings"). The answer has one vector per
 * input, in order; one that has fewer or more is no answer, since nobody could tell whose they are. Older models do not count tokens.
 */
#include "common/conf.h"
#include "worker/providers/gemini.h"

#include <string.h>

/* --- the request --- */

size_t gemini_embed_inputs(const json_t *request)
{
	const json_t *input = json_get(request, "input");
	return json_is_string(input) ? 1 : json_array_size(input);
}

static json_t *request_of(struct str model, const json_t *input, const json_t *dimensions)
{
	json_t *one = json_object(), *content = json_object(), *parts = json_array(), *part = json_object();
	json_set_str(one, "model", model);
	json_set_str(part, "text", json_str_of(input));
	json_array_append_new(parts, part);
	json_object_set_new(content, "parts", parts);
	json_object_set_new(one, "content", content);
	if (json_is_integer(dimensions))
		json_object_set(one, "outputDimensionality", (json_t *)(uintptr_t)dimensions);
	return one;
}

static int check(const json_t *input, size_t n, struct arena *a, struct err *err)
{
	if (n == 0)
		return err_set_at(err, ERR_UNSUPPORTED, "/input", "input: wanted a text or a list of texts");
	if (n > GEMINI_EMBEDDINGS_MAX)
		return err_set_at(err, ERR_UNSUPPORTED, "/input", "input: Gemini takes %d inputs at most, here are %zu", GEMINI_EMBEDDINGS_MAX, n);
	for (size_t i = 0; json_is_array(input) && i < n; i++)
		if (!json_is_string(json_array_get(input, i)))
			return err_set_at(err, ERR_UNSUPPORTED, arena_printf(a, "/input/%zu", i).p, "input/%zu: Gemini takes texts, not tokens", i);
	return 0;
}

json_t *gemini_embed_request(const struct provider_ask *ask, struct arena *a, struct err *err)
{
	const json_t *input = json_get(ask->request, "input"), *dimensions = json_get(ask->request, "dimensions");
	size_t n = gemini_embed_inputs(ask->request);
	struct buf model;
	if (check(input, n, a, err) < 0)
		return NULL;
	buf_init(&model, SIZE_MAX / 8);
	gemini_add_model(&model, ask->target->model);
	json_t *list = json_array(), *body = json_object();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, request_of(buf_str(&model), json_is_string(input) ? input : json_array_get(input, i), dimensions));
	buf_done(&model);
	json_object_set_new(body, "requests", list);
	return body;
}

/* --- the answer --- */

static void add_base64(struct buf *b, const uint8_t *p, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t i = 0; i < n; i += 3) {
		size_t left = n - i;
		uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0u);
		buf_add_char(b, digits[v >> 18]);
		buf_add_char(b, digits[v >> 12 & 63]);
		buf_add_char(b, left > 1 ? digits[v >> 6 & 63] : '=');
		buf_add_char(b, left > 2 ? digits[v & 63] : '=');
	}
}

/* Little-endian floats of 32 bits, as OpenAI packs them. */
static json_t *packed(const json_t *values)
{
	struct buf raw, text;
	const json_t *v;
	size_t i;
	buf_init(&raw, SIZE_MAX / 8);
	buf_init(&text, SIZE_MAX / 8);
	json_array_foreach (values, i, v) {
		float f = (float)json_number_value(v);
		uint32_t bits;
		memcpy(&bits, &f, sizeof(bits));
		uint8_t bytes[4] = { (uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16), (uint8_t)(bits >> 24) };
		buf_add(&raw, bytes, sizeof(bytes));
	}
	add_base64(&text, (const uint8_t *)raw.p, raw.n);
	json_t *packed_text = json_from_str(buf_str(&text));
	buf_done(&raw);
	buf_done(&text);
	return packed_text;
}

static bool is_vector(const json_t *values)
{
	const json_t *v;
	size_t i;
	json_array_foreach (values, i, v)
		if (!json_is_number(v))
			return false;
	return json_array_size(values) > 0;
}

static json_t *items(const json_t *embeddings, bool base64)
{
	json_t *data = json_array();
	const json_t *one;
	size_t i;
	json_array_foreach (embeddings, i, one) {
		json_t *values = json_get(one, "values"), *item = json_object();
		if (!is_vector(values)) {
			json_decref(item);
			json_decref(data);
			return NULL;
		}
		json_set_str(item, "object", STR("embedding"));
		json_set_i64(item, "index", (int64_t)i);
		json_object_set_new(item, "embedding", base64 ? packed(values) : json_incref(values));
		json_array_append_new(data, item);
	}
	return data;
}

json_t *gemini_embed_answer(const json_t *body, size_t inputs, bool base64, struct str model)
{
	const json_t *embeddings = json_get(body, "embeddings");
	size_t n = json_array_size(embeddings);
	json_t *data = n > 0 && (inputs == 0 || n == inputs) ? items(embeddings, base64) : NULL;
	if (!data)
		return NULL;
	json_t *answer = json_object();
	json_set_str(answer, "object", STR("list"));
	json_object_set_new(answer, "data", data);
	json_set_str(answer, "model", model);
	return answer;
}
