/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs and batches as people read them. The arguments are the service's objects; missing members are shown as "-". A batch is native, or in OpenAI's form
 * (it came as a file): all of this takes both.
 */
#ifndef MR_CLI_SHOW_H
#define MR_CLI_SHOW_H

#include <stdio.h>

#include "cli/term.h"
#include "common/json.h"

bool show_is_ended(const json_t *object); /* its status is terminal */
bool show_is_good(const json_t *object);  /* a job that succeeded; a batch all of whose lines are valid and all of whose jobs succeeded */
bool show_is_file_batch(const json_t *object);
void show_counts(const json_t *batch, struct term_counts *ret);

/* What a job answers: the message's text, or the result as JSON. Made in a. */
struct str show_result_text(struct arena *a, const json_t *job);
/* "$0.000342" of a job's or batch's cost; "-" when unknown. Made in a. */
struct str show_cost(struct arena *a, const json_t *job);
struct str show_usd(struct arena *a, struct str usd); /* "0.000342": what the API writes */
struct str show_batch_cost(struct arena *a, const json_t *batch);
struct str show_created_at(struct arena *a, const json_t *batch); /* RFC 3339 */
struct str show_count(struct arena *a, int64_t n);
struct str show_number(struct arena *a, const json_t *object, const char *name); /* "1,234"; "0" of what is not there */

void show_json(FILE *out, const json_t *v); /* indented on a terminal, one line elsewhere */
void show_job(const struct term *t, const json_t *job);
void show_batch(const struct term *t, const json_t *batch);
/* One line of a batch's end, "batch_… completed: 9 succeeded, 1 failed in 3.2s", and a line for each fault of its input. */
void show_batch_summary(const struct term *t, const json_t *batch);
/* A line for each fault of a submission's or a batch's input, at most so many, and how many more there are. */
void show_faults(const struct term *t, const json_t *list, int64_t count, size_t most);
/* A job of a batch's results: a line with its number and status, then its text. */
void show_result(const struct term *t, const json_t *job);
/* The list of GET /v1/jobs/ID/attempts. */
void show_attempt_table(const struct term *t, const json_t *attempts);
/* "millrace watch: job_… failed: message [code]" on standard error. */
void show_job_error(const char *command, const json_t *job);

#endif
