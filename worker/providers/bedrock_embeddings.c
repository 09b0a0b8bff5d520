/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Embeddings by InvokeModel, whose body is the model's own (Amazon Bedrock User Guide: Titan Text Embeddings, Cohere Embed). Titan takes one text, Cohere
 * up to 96; token arrays neither. The answer comes back in OpenAI's form, as numbers or as base64 of little-endian floats.
 */
#include "worker/providers/bedrock.h"

#include <string.h>

#include "common/conf.h"
#include "common/crypto.h"

#define COHERE_TEXTS_MAX 96

enum bedrock_embeddings bedrock_embeddings_of(struct str model)
{
	if (str_find(model, STR("titan-embed-text")) >= 0)
		return BEDROCK_TITAN;
	return str_find(model, STR("cohere.embed")) >= 0 ? BEDROCK_COHERE : BEDROCK_NO_EMBEDDINGS;
}

size_t bedrock_embeddings_wanted(const json_t *request)
{
	const json_t *input = json_get(request, "input");
	return json_is_array(input) ? json_array_size(input) : 1;
}

static bool is_texts(const json_t *input)
{
	const json_t *one;
	size_t i;
	json_array_foreach (input, i, one)
		if (!json_is_string(one))
			return false;
	return json_is_string(input) || json_array_size(input) > 0;
}

static int write_titan(const struct conf_target *t, const json_t *request, json_t *body, struct err *err)
{
	const json_t *input = json_get(request, "input"), *dimensions = json_get(request, "dimensions");
	if (bedrock_embeddings_wanted(request) != 1)
		return err_set_at(err, ERR_UNSUPPORTED, "/input", "Titan takes one text per call");
	if (json_is_integer(dimensions) && str_find(t->model, STR("titan-embed-text-v1")) >= 0)
		return err_set_at(err, ERR_UNSUPPORTED, "/dimensions", "the first Titan has one size of vectors only");
	json_set_str(body, "inputText", json_str_of(json_is_array(input) ? json_array_get(input, 0) : input));
	if (json_is_integer(dimensions))
		json_object_set(body, "dimensions", (json_t *)(uintptr_t)dimensions);
	return 0;
}

static int write_cohere(const struct conf_target *t, const json_t *request, json_t *body, struct err *err)
{
	const json_t *input = json_get(request, "input"), *dimensions = json_get(request, "dimensions");
	if (bedrock_embeddings_wanted(request) > COHERE_TEXTS_MAX)
		return err_set_at(err, ERR_UNSUPPORTED, "/input", "Cohere takes at most %d texts per call", COHERE_TEXTS_MAX);
	if (json_is_integer(dimensions) && str_find(t->model, STR("cohere.embed-v4")) < 0)
		return err_set_at(err, ERR_UNSUPPORTED, "/dimensions", "this model has one size of vectors only");
	json_t *texts = json_is_array(input) ? json_incref((json_t *)(uintptr_t)input) : json_array();
	if (json_is_string(input))
		json_array_append(texts, (json_t *)(uintptr_t)input);
	json_object_set_new(body, "texts", texts);
	json_set_str(body, "input_type", STR("search_document"));
	if (json_is_integer(dimensions))
		json_object_set(body, "output_dimension", (json_t *)(uintptr_t)dimensions);
	return 0;
}

int bedrock_embeddings_write(const struct provider_ask *ask, struct buf *b, struct err *err)
{
	enum bedrock_embeddings family = bedrock_embeddings_of(ask->target->model);
	if (family == BEDROCK_NO_EMBEDDINGS)
		return err_set_at(err, ERR_UNSUPPORTED, "/model", "embeddings on Bedrock are of Titan's or Cohere's models");
	if (!is_texts(json_get(ask->request, "input")))
		return err_set_at(err, ERR_UNSUPPORTED, "/input", "Bedrock embeds texts only");
	json_t *body = json_object();
	int rc = family == BEDROCK_TITAN ? write_titan(ask->target, ask->request, body, err) : write_cohere(ask->target, ask->request, body, err);
	if (rc == 0 && json_write(b, body) < 0)
		rc = err_set(err, ERR_TOO_LARGE, "the request does not fit into 1 GiB");
	json_decref(body);
	return rc;
}

/* --- the answer --- */

/* NULL when it is not a list of numbers. */
static json_t *vector(const json_t *numbers, bool base64)
{
	const json_t *one;
	struct buf raw, text;
	size_t i, n = json_array_size(numbers);
	buf_init(&raw, n * 4);
	buf_init(&text, n * 8 + 8);
	json_array_foreach (numbers, i, one) {
		float f = (float)json_number_value(one);
		uint32_t bits;
		memcpy(&bits, &f, sizeof(bits));
		const char le[] = { (char)(bits & 0xff), (char)(bits >> 8 & 0xff), (char)(bits >> 16 & 0xff), (char)(bits >> 24) };
		if (!json_is_number(one))
			break;
		buf_add(&raw, le, sizeof(le));
	}
	json_t *v = NULL;
	if (i == n && n > 0 && !base64)
		v = json_incref((json_t *)(uintptr_t)numbers);
	else if (i == n && n > 0 && crypto_base64(&text, buf_str(&raw)) == 0)
		v = json_from_str(buf_str(&text));
	buf_done(&raw);
	buf_done(&text);
	return v;
}

/* Titan: `embedding`; Cohere: `embeddings`, a list or an object of lists by type. */
static const json_t *numbers_at(const json_t *body, size_t i)
{
	const json_t *one = json_get(body, "embedding"), *all = json_get(body, "embeddings");
	if (one)
		return i == 0 ? one : NULL;
	return json_array_get(json_is_object(all) ? json_get(all, "float") : all, i);
}

json_t *bedrock_embeddings_answer(const json_t *body, size_t wanted, bool base64, struct str model, struct provider_result *r)
{
	json_t *answer = json_object(), *data = json_array(), *usage = json_object();
	for (size_t i = 0; i < wanted; i++) {
		json_t *v = vector(numbers_at(body, i), base64), *item;
		if (!v)
			break;
		item = json_object();
		json_set_str(item, "object", STR("embedding"));
		json_set_i64(item, "index", (int64_t)i);
		json_object_set_new(item, "embedding", v);
		json_array_append_new(data, item);
	}
	if (json_is_integer(json_get(body, "inputTextTokenCount")))
		r->usage.input = json_i64(body, "inputTextTokenCount", 0);
	assembly_usage_tidy(&r->usage);
	r->usage_known = r->usage.input > 0;
	json_set_str(answer, "object", STR("list"));
	json_object_set(answer, "data", data);
	json_set_str(answer, "model", model);
	json_set_i64(usage, "prompt_tokens", r->usage.input);
	json_set_i64(usage, "total_tokens", r->usage.input);
	json_object_set_new(answer, "usage", usage);
	bool whole = json_array_size(data) == wanted && !numbers_at(body, wanted);
	json_decref(data);
	if (!whole)
		json_drop(&answer);
	return answer;
}
