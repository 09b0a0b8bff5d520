/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of running jobs that somebody follows, as numbered chunks in table chunk: what GET /v1/jobs/{id}/events reads in any api process. Nothing
 * is written for jobs that nobody follows. When a follower comes, what has arrived so far is the first chunk; from then on the first delta goes at
 * once and later ones are merged (LIVE_MERGE_MS), all streams of the worker in one statement.
 */
#ifndef MR_WORKER_EXECUTION_LIVE_H
#define MR_WORKER_EXECUTION_LIVE_H

#include "worker/job.h"
#include "worker/providers/provider.h"
#include "worker/worker.h"

#define LIVE_MERGE_MS 20

struct assembly;
struct lives;

struct lives *lives_new(struct worker *w);
void lives_free(struct lives *l);
bool lives_are_idle(const struct lives *l);

/* A call of the job begins: attempt `number` of this lease. so_far gives its text at any time, NULL when it is not streamed. */
void live_begin(struct job *j, int number, const struct assembly *(*so_far)(void *arg), void *arg);
/* A delta arrived: nothing happens unless the job is followed. */
void live_delta(struct job *j, const struct provider_delta *d);
/* The call is over: its last chunk goes at once. The outcome does not wait for it: who reads takes the rest from the result. */
void live_end(struct job *j);
/* Somebody follows the job (a mark on its lease): from now on its text is written. */
void live_follow(struct job *j);

#endif
