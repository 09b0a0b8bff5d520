/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When two requests are the same: the same question to the same models for the same namespace, however the client wrote it. What does not change the
 * answer (who asks, whether it is streamed, labels, marks of the provider's own cache) is left out, and so is a member that says what its absence says.
 */
#include "common/crypto.h"
#include "common/request_facts.h"
#include "worker/execution/cache.h"

#define KEY_VERSION "millrace-cache-1"

static const char *const ignored[] = {
	"user", "metadata", "stream", "stream_options", "store", "service_tier", "safety_identifier", "prompt_cache_key", "model",
};

static const struct {
	const char *name, *value; /* as compact JSON */
} defaults[] = {
	{ "n", "1" },
	{ "temperature", "1" },
	{ "top_p", "1" },
	{ "presence_penalty", "0" },
	{ "frequency_penalty", "0" },
	{ "logprobs", "false" },
	{ "parallel_tool_calls", "true" },
	{ "tool_choice", "\"auto\"" },
	{ "response_format", "{\"type\":\"text\"}" },
	{ "encoding_format", "\"float\"" },
	{ "tools", "[]" },
	{ "stop", "[]" },
	{ "logit_bias", "{}" },
};

static bool is_default(const char *name, const json_t *v)
{
	bool same = false;
	struct buf b;
	if (json_is_null(v))
		return true;
	buf_init(&b, (size_t)1 << 30);
	for (size_t i = 0; i < ARRAY_LEN(defaults) && !same; i++)
		if (str_eq_z(str_from(name), defaults[i].name))
			same = json_write_sorted(&b, v) == 0 && str_eq_z(buf_str(&b), defaults[i].value);
	buf_done(&b);
	return same;
}

static json_t *whole_number(const json_t *v)
{
	double d = json_real_value(v);
	bool whole = json_is_real(v) && d >= -9e15 && d <= 9e15 && !(d > (double)(int64_t)d) && !(d < (double)(int64_t)d);
	return whole ? json_integer((json_int_t)d) : NULL;
}

/* A shallow copy without what does not count. Owned by the caller. */
static json_t *canonical(const json_t *request)
{
	json_t *copy = json_object(), *v;
	const char *name;
	json_object_foreach((json_t *)(uintptr_t)request, name, v)
	{
		bool counts = true;
		for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
			counts = counts && !str_eq_z(str_from(name), ignored[i]);
		if (!counts)
			continue;
		json_t *number = whole_number(v);
		if (!is_default(name, number ? number : v))
			json_object_set(copy, name, number ? number : v);
		json_decref(number);
	}
	return copy;
}

int cache_key(const struct conf_route *route, int64_t tenant_id, enum job_kind kind, const json_t *request, uint8_t ret[32])
{
	struct buf b;
	buf_init(&b, (size_t)1 << 30);
	/* Lengths go before texts, so that no two lists of names look alike. */
	if (route->cache_namespace.n)
		buf_printf(&b, KEY_VERSION " shared %zu:" STR_FMT, route->cache_namespace.n, STR_ARG(route->cache_namespace));
	else
		buf_printf(&b, KEY_VERSION " tenant %lld", (long long)tenant_id);
	buf_printf(&b, " kind %d route %zu:" STR_FMT, (int)kind, route->name.n, STR_ARG(route->name));
	for (size_t i = 0; i < route->ntargets; i++)
		buf_printf(&b, " %zu:" STR_FMT, route->targets[i]->model.n, STR_ARG(route->targets[i]->model));
	buf_add_char(&b, '\n');
	json_t *plain = request_unmarked(request), *what = canonical(plain);
	json_decref(plain);
	int rc = json_write_sorted(&b, what);
	json_decref(what);
	if (rc == 0)
		crypto_sha256(buf_str(&b), ret);
	buf_done(&b);
	return rc < 0 ? -ERR_TOO_LARGE : 0;
}
