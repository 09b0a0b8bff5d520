/* SPDX-License-Identifier: Apache-2.0 */
/* One line of a batch's output or error file (OpenAI: Batch API reference, the request output object). Pure. */
#ifndef MR_API_BATCHES_BATCH_ANSWER_H
#define MR_API_BATCHES_BATCH_ANSWER_H

#include "api/faces/face.h"
#include "api/jobs/job_object.h"

enum batch_answer { ANSWER_NONE, ANSWER_OUTPUT, ANSWER_ERROR };

/*
 * Appends the line of a job that has ended, with its newline, to the file that it belongs to: what succeeded to output, the rest to errors. A job that was
 * canceled has no line, unless the batch's cost cap did it. echo: the JSON text of the stored body's member; p NULL: none.
 */
enum batch_answer batch_answer_write(struct buf *output, struct buf *errors, enum face_form form, const struct job_facts *j, struct str echo);

#endif
