/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a class of err.def is to the clients of other APIs. Statuses are those that the official SDKs turn into their error classes. Where a provider
 * refuses Millrace's key or has no such model, the client can do nothing about it: 502, never 401.
 */
#include "api/faces/face.h"

#include <string.h>

struct row {
	enum err_code class;
	int status;
	const char *type, *code;
};

/* What is not here keeps its status; its type follows from that. */
static const struct row rows[] = {
	{ ERR_UNAUTHENTICATED, 401, "authentication_error", "invalid_api_key" },
	{ ERR_FORBIDDEN, 403, "permission_error", "permission_denied" },
	{ ERR_UNKNOWN_ROUTE, 404, "invalid_request_error", "model_not_found" },
	{ ERR_UNSUPPORTED, 400, "invalid_request_error", "unsupported_value" },
	{ ERR_RATE_LIMITED, 429, "requests", "rate_limit_exceeded" },
	{ ERR_QUEUE_FULL, 429, "requests", "rate_limit_exceeded" },
	{ ERR_PROVIDER_RATE_LIMIT, 429, "requests", "rate_limit_exceeded" },
	{ ERR_QUOTA, 429, "insufficient_quota", "insufficient_quota" },
	{ ERR_CONTEXT_WINDOW, 400, "invalid_request_error", "context_length_exceeded" },
	{ ERR_CONTENT_FILTER, 400, "invalid_request_error", "content_filter" },
	{ ERR_LIMIT_TOO_SMALL, 413, "invalid_request_error", "too_large_for_limit" },
	{ ERR_PROVIDER_AUTH, 502, "server_error", "provider_auth" },
	{ ERR_PROVIDER_PERMISSION, 502, "server_error", "provider_permission" },
	{ ERR_PROVIDER_NOT_FOUND, 502, "server_error", "provider_not_found" },
	{ ERR_BILLING, 502, "server_error", "provider_billing" },
	{ ERR_EXPIRED, 504, "server_error", "expired" },
};

static const char *type_of(int status)
{
	if (status == 429)
		return "requests";
	return status >= 500 ? "server_error" : "invalid_request_error";
}

struct face_error face_error_of(struct str code)
{
	enum err_code class = err_by_code_name(code);
	if (class == ERR_OK)
		class = ERR_INTERNAL;
	bool again = err_is_retryable((int)class);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].class == class)
			return (struct face_error){ rows[i].status, rows[i].type, rows[i].code, again };
	int status = err_http_status((int)class);
	return (struct face_error){ status, type_of(status), err_code_name((int)class), again };
}

void face_param(struct buf *b, const char *pointer)
{
	struct str rest = str_from(pointer), part;
	if (!str_has_prefix(rest, STR("/"))) { /* a parameter's or a header's name */
		buf_add_str(b, rest);
		return;
	}
	rest = str_sub(rest, 1, rest.n);
	for (bool first = true; str_split(&rest, '/', &part); first = false) {
		uint64_t n;
		if (!first && str_u64(part, 0, UINT32_MAX, &n) == 0)
			buf_printf(b, "[%llu]", (unsigned long long)n);
		else
			buf_printf(b, "%s" STR_FMT, first ? "" : ".", STR_ARG(part));
	}
}

void face_error_write_openai(struct buf *b, const struct face_error *e, const struct err *err)
{
	buf_add_z(b, "{\"error\":{\"message\":");
	buf_add_json_str(b, err->text[0] ? str_from(err->text) : str_from(err_title((int)err->code)));
	buf_printf(b, ",\"type\":\"%s\",\"param\":", e->type);
	if (err->param[0]) {
		struct buf param;
		buf_init(&param, 4 * ERR_PARAM_MAX);
		face_param(&param, err->param);
		buf_add_json_str(b, buf_str(&param));
		buf_done(&param);
	} else {
		buf_add_z(b, "null");
	}
	buf_add_z(b, ",\"code\":");
	if (e->code)
		buf_add_json_str(b, str_from(e->code));
	else
		buf_add_z(b, "null");
	buf_add_z(b, "}}");
}

/* Anthropic: API errors. */
static const char *anthropic_type(int status)
{
	switch (status) {
	case 401:
		return "authentication_error";
	case 403:
		return "permission_error";
	case 404:
		return "not_found_error";
	case 413:
		return "request_too_large";
	case 429:
		return "rate_limit_error";
	case 503:
		return "overloaded_error";
	case 504:
		return "timeout_error";
	}
	return status >= 500 ? "api_error" : "invalid_request_error";
}

void face_error_write_anthropic(struct buf *b, const struct face_error *e, const struct err *err, struct str request_id)
{
	buf_printf(b, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", anthropic_type(e->status));
	struct buf text;
	buf_init(&text, 4096);
	if (err->param[0]) {
		face_param(&text, err->param);
		buf_add_z(&text, ": ");
	}
	buf_add_z(&text, err->text[0] ? err->text : err_title((int)err->code));
	buf_add_json_str(b, buf_str(&text));
	buf_done(&text);
	buf_add_z(b, "},\"request_id\":");
	if (request_id.p)
		buf_add_json_str(b, request_id);
	else
		buf_add_z(b, "null");
	buf_add_char(b, '}');
}
