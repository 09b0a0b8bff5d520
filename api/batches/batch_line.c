/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line is judged from the outside in: JSON, the four members, then the body by its endpoint's face and by the rules for native jobs. The first fault of a
 * line is the one that is told. Codes are OpenAI's where it has one; of the body all faults but an unknown model and previous response are invalid_request.
 *
 * Beyond OpenAI: any model in any line, and the member `millrace` of a body. The line's deadline is the batch's, if it names no earlier one.
 */
#include "api/batches/batch_line.h"

#include <string.h>

#include "api/door/attribution.h"

static const struct {
	const char *endpoint;
	enum face_form form; /* FORM_NATIVE: OpenAI has it, Millrace has not */
} endpoints[] = {
	{ "/v1/chat/completions", FORM_CHAT },      { "/v1/responses", FORM_RESPONSE },       { "/v1/embeddings", FORM_EMBEDDINGS },
	{ "/v1/completions", FORM_COMPLETION },     { "/v1/moderations", FORM_NATIVE },       { "/v1/images/generations", FORM_NATIVE },
	{ "/v1/images/edits", FORM_NATIVE },        { "/v1/videos", FORM_NATIVE },
};

enum face_form batch_endpoint_form(struct str endpoint)
{
	for (size_t i = 0; i < ARRAY_LEN(endpoints); i++)
		if (str_eq_z(endpoint, endpoints[i].endpoint))
			return endpoints[i].form;
	return FORM_NATIVE;
}

bool batch_endpoint_is_foreign(struct str endpoint)
{
	for (size_t i = 0; i < ARRAY_LEN(endpoints); i++)
		if (str_eq_z(endpoint, endpoints[i].endpoint))
			return endpoints[i].form == FORM_NATIVE;
	return false;
}

static int fault(struct batch_fault *f, const char *code, const char *param, const char *text)
{
	f->code = code;
	return err_set_at(&f->err, ERR_INVALID, param, "%s", text);
}

void batch_fault_write(struct buf *b, const struct batch_fault *f, int64_t line)
{
	buf_printf(b, "{\"code\":\"%s\",\"message\":", f->code);
	buf_add_json_str(b, str_from(f->err.text));
	buf_add_z(b, ",\"param\":");
	if (f->err.param[0])
		buf_add_json_str(b, str_from(f->err.param));
	else
		buf_add_z(b, "null");
	if (line > 0)
		buf_printf(b, ",\"line\":%lld}", (long long)line);
	else
		buf_add_z(b, ",\"line\":null}");
}

int batch_line_blame(const struct err *err, struct batch_fault *ret)
{
	struct buf b;
	char param[ERR_PARAM_MAX] = "body";
	buf_init(&b, 4 * ERR_PARAM_MAX);
	buf_add_z(&b, "body");
	if (err->param[0])
		buf_add_char(&b, '.');
	face_param(&b, err->param);
	if (!buf_failed(&b)) {
		struct str s = str_utf8_prefix(buf_str(&b), sizeof(param) - 1);
		memcpy(param, s.p, s.n);
		param[s.n] = '\0';
	}
	buf_done(&b);
	const char *code = err->code == ERR_UNKNOWN_ROUTE ? "model_not_found" : err->code == ERR_PREVIOUS_NOT_FOUND ? "previous_response_not_found" : "invalid_request";
	return fault(ret, code, param, err->text);
}

/* --- the line itself --- */

static size_t characters(struct str s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

static int read_custom_id(struct batch_line *line, struct batch_fault *f)
{
	json_t *v = json_get(line->value, "custom_id");
	if (!v || json_is_null(v))
		return fault(f, "missing_required_parameter", "custom_id", "Missing required parameter: 'custom_id'.");
	if (!json_is_string(v))
		return fault(f, "invalid_request", "custom_id", "'custom_id' has to be a string.");
	size_t n = characters(json_str_of(v));
	if (n == 0 || n > BATCH_CUSTOM_ID_MAX)
		return fault(f, "invalid_request", "custom_id", "'custom_id' has to have 1 to 512 characters.");
	line->custom_id = json_str_of(v);
	return 0;
}

static int read_method(const struct batch_line *line, struct batch_fault *f)
{
	json_t *v = json_get(line->value, "method");
	if (!v || json_is_null(v))
		return fault(f, "missing_required_parameter", "method", "Missing required parameter: 'method'.");
	return str_eq(json_str_of(v), STR("POST")) ? 0 : fault(f, "invalid_method", "method", "'method' has to be \"POST\".");
}

static int read_url(const struct batch_line *line, struct str endpoint, struct batch_fault *f)
{
	json_t *v = json_get(line->value, "url");
	if (!v || json_is_null(v))
		return fault(f, "missing_required_parameter", "url", "Missing required parameter: 'url'.");
	struct str url = json_str_of(v);
	if (str_eq(url, endpoint))
		return 0;
	if (batch_endpoint_form(url) == FORM_NATIVE && !batch_endpoint_is_foreign(url))
		return fault(f, "invalid_url", "url", "'url' is not the path of a request that a batch can hold.");
	return fault(f, "url_mismatch", "url", "The URL provided for this request does not match the batch endpoint.");
}

static int read_body(struct arena *a, const struct batch_line_rules *rules, struct batch_line *line, struct batch_fault *f)
{
	struct err err = { 0 };
	json_t *body = json_get(line->value, "body");
	if (!body || json_is_null(body))
		return fault(f, "missing_required_parameter", "body", "Missing required parameter: 'body'.");
	if (!json_is_object(body))
		return fault(f, "invalid_request", "body", "'body' has to be an object.");
	if (rules->face->read(a, body, &line->face, &err) < 0)
		return batch_line_blame(&err, f);
	if (line->face.stream)
		return fault(f, "invalid_request", "body.stream", "An answer in a batch is whole: leave 'stream' out.");
	return 0;
}

int batch_line_open(struct arena *a, const struct batch_line_rules *rules, struct str text, struct batch_line *ret, struct batch_fault *ret_fault)
{
	struct err err = { 0 };
	*ret = (struct batch_line){ 0 };
	*ret_fault = (struct batch_fault){ 0 };
	ret->value = json_parse(text, &err);
	if (!ret->value || !json_is_object(ret->value))
		return fault(ret_fault, "invalid_json_line", "", ret->value ? "This line is not a JSON object." : "This line is not parseable as valid JSON.");
	int rc = read_custom_id(ret, ret_fault);
	rc = rc < 0 ? rc : read_method(ret, ret_fault);
	rc = rc < 0 ? rc : read_url(ret, rules->endpoint, ret_fault);
	return rc < 0 ? rc : read_body(a, rules, ret, ret_fault);
}

/* --- the job that it becomes --- */

static int reckon(struct arena *a, const struct batch_line_rules *rules, struct batch_line *line, struct batch_fault *f)
{
	bool embeddings = rules->face->kind == SUBMISSION_EMBEDDINGS;
	const struct conf_route *route = conf_route_find(rules->job.conf, a, line->s.route);
	assert(route && line->s.facts); /* they were found when the job was judged */
	batch_cost_reckon(route, line->s.facts, line->face.request, embeddings, &line->cost);
	line->inputs = line->s.facts->inputs;
	return rules->capped && line->cost.unknown ? fault(f, "cost_unknown", "body.model", line->cost.unknown) : 0;
}

int batch_line_judge(struct arena *a, const struct batch_line_rules *rules, struct batch_line *line, struct batch_fault *ret_fault)
{
	struct err err = { 0 };
	struct submission *s = &line->s;
	*ret_fault = (struct batch_fault){ 0 };
	struct submission_rules job = rules->job;
	int rc = face_submission(rules->face, &line->face, a, &job, s, &err);
	rc = rc < 0 ? rc : attribution_read(NULL, &line->face, a, &s->metadata, &s->user, &err);
	if (rc < 0)
		return batch_line_blame(&err, ret_fault);
	s->custom_id = line->custom_id;
	if (!json_get(line->face.millrace, "priority"))
		s->priority = rules->priority;
	if (s->expires_at_us == 0 || s->expires_at_us > rules->expires_at_us)
		s->expires_at_us = rules->expires_at_us;
	if (s->run_at_us >= s->expires_at_us)
		return fault(ret_fault, "invalid_request", "body.millrace.run_at", "The batch ends before this line may run.");
	return reckon(a, rules, line, ret_fault);
}

void batch_line_done(struct batch_line *line)
{
	face_request_done(&line->face);
	json_decref(line->value);
	line->value = NULL;
}
