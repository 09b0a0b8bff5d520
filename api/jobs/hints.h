/* SPDX-License-Identifier: Apache-2.0 */
/* Hints to the workers: something waits, a running job is to be stopped, the state of a target is another one. Only hints: workers poll too. */
#ifndef MR_API_JOBS_HINTS_H
#define MR_API_JOBS_HINTS_H

#include "common/id.h"

struct api;
struct hints;

struct hints *hints_new(struct api *api);
void hints_stop(struct hints *n);
void hints_free(struct hints *n);
void hints_ready(struct hints *n, int lane, int priority);
void hints_cancel(struct hints *n, struct id worker_id);
void hints_targets(struct hints *n);

#endif
