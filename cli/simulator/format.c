/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of formats, and what they share: finding the one that a path belongs to, what a bare status means, bodies
 * of failures that are in no format at all (a proxy's page, nothing, a text).
 */
#include "cli/simulator/format.h"

#include <string.h>

/* Azure before OpenAI: its paths end as theirs do. */
static const struct format *const formats[] = {
	&format_azure,
	&format_openai,
	&format_anthropic,
	&format_gemini,
	&format_bedrock,
};

static bool path_matches(struct str path, const struct endpoint *e, struct str *ret_model)
{
	*ret_model = STR("");
	if (!str_has_suffix(path, str_from(e->after)))
		return false;
	path.n -= strlen(e->after);
	if (!e->before)
		return true;
	ssize_t at = str_find(path, str_from(e->before));
	if (at < 0)
		return false;
	*ret_model = str_sub(path, (size_t)at + strlen(e->before), path.n);
	return ret_model->n > 0;
}

const struct endpoint *format_find(struct str path, const struct format **ret, struct str *ret_model)
{
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		for (size_t k = 0; k < formats[i]->nendpoints; k++) {
			if (path_matches(path, &formats[i]->endpoints[k], ret_model)) {
				*ret = formats[i];
				return &formats[i]->endpoints[k];
			}
		}
	}
	return NULL;
}

enum error_class error_class_of(int status)
{
	switch (status) {
	case 401:
		return ERROR_AUTH;
	case 402:
		return ERROR_BILLING;
	case 403:
		return ERROR_PERMISSION;
	case 404:
		return ERROR_NOT_FOUND;
	case 408:
	case 504:
		return ERROR_TIMEOUT;
	case 413:
		return ERROR_TOO_LARGE;
	case 429:
		return ERROR_RATE_LIMIT;
	case 503:
	case 529:
		return ERROR_OVERLOADED;
	default:
		return status < 500 ? ERROR_BAD_REQUEST : ERROR_SERVER_ERROR;
	}
}

struct str format_write_failure(struct buf *b, const struct format *f, const struct rule *r, const struct failure *x)
{
	struct str shape = json_str_of(r->error_body);
	if (r->error_body && !json_is_string(r->error_body)) {
		json_write(b, r->error_body);
		return STR("application/json");
	}
	if (str_eq(shape, STR("html"))) {
		buf_printf(b,
		           "<html>\r\n<head><title>%d</title></head>\r\n<body>\r\n<center><h1>%d</h1></center>\r\n</"
		           "body>\r\n</html>\r\n",
		           x->status, x->status);
		return STR("text/html");
	}
	if (str_eq(shape, STR("empty")))
		return STR("");
	if (str_eq(shape, STR("openai"))) {
		format_openai.write_error(b, x);
		return STR("application/json");
	}
	if (shape.n > 0) {
		buf_add_str(b, shape);
		return STR("text/plain; charset=utf-8");
	}
	f->write_error(b, x);
	return STR("application/json");
}

size_t sse_event_len(struct str rest)
{
	ssize_t end = str_find(rest, STR("\n\n"));
	return end < 0 ? rest.n : (size_t)end + 2;
}

void sse_event(struct buf *b, const char *name)
{
	if (name)
		buf_printf(b, "event: %s\n", name);
	buf_add_z(b, "data: ");
}

const struct error_row *failure_row(const struct format *f, const struct failure *x)
{
	assert(x->kind > ERROR_NONE && x->kind < ERROR_CLASSES);
	return &f->errors[x->kind];
}

struct str failure_message(const struct error_row *row, const struct failure *x)
{
	return x->message.n > 0 ? x->message : str_from(row->message);
}
