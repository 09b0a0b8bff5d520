/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs and batches as people read them. The arguments are the service's objects; missing members are shown as "-". */
#ifndef MR_CLI_SHOW_H
#define MR_CLI_SHOW_H

#include <stdio.h>

#include "cli/term.h"
#include "common/json.h"

bool show_is_ended(const json_t *object); /* its status is terminal */
bool show_is_good(const json_t *object);  /* a job that succeeded; a batch all of whose jobs did */
void show_counts(const json_t *batch, struct term_counts *ret);

/* What a job answers: the message's text, or the result as JSON. Made in a. */
struct str show_result_text(struct arena *a, const json_t *job);
/* "$0.000342" of a job's or batch's cost; "-" when unknown. Made in a. */
struct str show_cost(struct arena *a, const json_t *job);

void show_json(FILE *out, const json_t *v); /* indented on a terminal, one line elsewhere */
void show_job(const struct term *t, const json_t *job);
void show_batch(const struct term *t, const json_t *batch);
/* One line of a batch's end: "10 jobs: 9 succeeded, 1 failed; in 3.2s". */
void show_batch_summary(const struct term *t, const json_t *batch);
/* A job of a batch's results: a line with its number and status, then its text. */
void show_result(const struct term *t, const json_t *job);
/* "millrace watch: job_… failed: message [code]" on standard error. */
/* The list of GET /v1/jobs/ID/attempts. */
void show_attempt_table(const struct term *t, const json_t *attempts);
void show_job_error(const char *command, const json_t *job);

#endif
