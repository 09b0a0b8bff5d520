/* SPDX-License-Identifier: Apache-2.0 */
/* From a job that was read to what its face writes of it: for whoever answers in another API's form. */
#ifndef MR_API_SYNC_FACE_FACTS_H
#define MR_API_SYNC_FACE_FACTS_H

#include "api/faces/face.h"
#include "api/jobs/job_object.h"

/* result and echo are the parsed texts of that job; NULL: none. All is borrowed. */
struct face_answer face_answer_of(const struct job_facts *j, enum face_form form, const json_t *result, const json_t *echo);

/* How a job that did not succeed ended, as an error of its class. Returns the code, negative. */
int face_failure(const struct job_facts *j, struct err *ret);

#endif
