/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line is {"id", "custom_id", "response": {"status_code", "request_id", "body"} or null, "error": {"code", "message"} or null}. The body is what a
 * synchronous call would have been answered with, of a success and of a failure; `error` is for what is no answer to a request: the line did not run before
 * the batch's deadline, its cost cap kept it from running, or its answer is not there any more.
 */
#include "api/batches/batch_answer.h"

#include "api/sync/face_facts.h"

#define EXPIRED_TEXT "This request could not be executed before the completion window expired."

static void add_head(struct buf *b, const struct job_facts *j)
{
	char id[ID_TEXT_MAX];
	buf_printf(b, "{\"id\":\"" STR_FMT "\",\"custom_id\":", STR_ARG(id_text(j->id, "batch_req_", id)));
	job_object_text(b, j->custom_id);
}

static void add_response(struct buf *b, const struct job_facts *j, int status)
{
	char id[ID_TEXT_MAX];
	buf_printf(b, ",\"response\":{\"status_code\":%d,\"request_id\":\"" STR_FMT "\",\"body\":", status, STR_ARG(id_text(j->id, "job_", id)));
}

static enum batch_answer add_error(struct buf *b, const struct job_facts *j, const char *code, struct str message)
{
	add_head(b, j);
	buf_printf(b, ",\"response\":null,\"error\":{\"code\":\"%s\",\"message\":", code);
	buf_add_json_str(b, message);
	buf_add_z(b, "}}\n");
	return ANSWER_ERROR;
}

static enum batch_answer add_failure(struct buf *b, const struct job_facts *j)
{
	struct err err;
	int rc = face_failure(j, &err);
	struct face_error e = face_error_of(str_from(err_code_name(rc)));
	add_head(b, j);
	add_response(b, j, e.status);
	face_error_write_openai(b, &e, &err);
	buf_add_z(b, "},\"error\":null}\n");
	return ANSWER_ERROR;
}

/* False: nothing was written. */
static bool add_success(struct buf *b, enum face_form form, const struct job_facts *j, struct str echo_text)
{
	size_t before = b->n;
	_cleanup_(json_drop) json_t *result = json_parse_lenient(j->result, NULL);
	_cleanup_(json_drop) json_t *echo = echo_text.p ? json_parse_lenient(echo_text, NULL) : NULL;
	const struct face_answer answer = face_answer_of(j, form, result, echo);
	add_head(b, j);
	add_response(b, j, 200);
	if (!result || face_of(form)->write(b, &answer) < 0) {
		if (!buf_failed(b))
			buf_truncate(b, before);
		return false;
	}
	buf_add_z(b, "},\"error\":null}\n");
	return true;
}

enum batch_answer batch_answer_write(struct buf *output, struct buf *errors, enum face_form form, const struct job_facts *j, struct str echo)
{
	assert(job_status_is_over(j->status) && face_of(form));
	if (j->status == STATUS_SUCCEEDED) {
		if (!j->result.p)
			return add_error(errors, j, "not_found", STR("The answer was erased."));
		if (add_success(output, form, j, echo))
			return ANSWER_OUTPUT;
		return add_error(errors, j, err_code_name(ERR_BAD_OUTPUT), STR("The answer has not the form that this endpoint needs."));
	}
	if (j->error_code.p && str_eq_z(j->error_code, err_code_name(ERR_BATCH_COST_CAP)))
		return add_error(errors, j, err_code_name(ERR_BATCH_COST_CAP), j->error_message);
	switch (j->status) {
	case STATUS_CANCELED:
		return ANSWER_NONE;
	case STATUS_EXPIRED:
		return add_error(errors, j, "batch_expired", STR(EXPIRED_TEXT));
	default:
		return add_failure(errors, j);
	}
}
