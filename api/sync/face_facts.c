/* SPDX-License-Identifier: Apache-2.0 */
/* The one place where the fields of a job become those of an answer. A class of failure that this version does not know is an internal error. */
#include "api/sync/face_facts.h"

struct face_answer face_answer_of(const struct job_facts *j, enum face_form form, const json_t *result, const json_t *echo)
{
	return (struct face_answer){
		.id = j->id,
		.form = form,
		.created_us = j->created_us,
		.started_us = j->started_us,
		.finished_us = j->finished_us,
		.status = (int)j->status,
		.model = j->route,
		.result = result,
		.echo = echo,
		.error_code = j->error_code,
		.error_message = j->error_message,
		.error_status = j->error_status,
		.user = j->user,
		.metadata = j->metadata,
		.partial = job_is_partial(j),
		.background = json_bool(echo, "background", false),
	};
}

int face_failure(const struct job_facts *j, struct err *ret)
{
	enum err_code code = err_by_code_name(j->error_code);
	if (code == ERR_OK)
		code = j->status == STATUS_CANCELED ? ERR_CANCELED : j->status == STATUS_EXPIRED ? ERR_EXPIRED : ERR_INTERNAL;
	return err_set(ret, code, STR_FMT, STR_ARG(j->error_message));
}
