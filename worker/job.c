/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a job's memory. Its beginning is in claim.c, its life in execution.c. */
#include "worker/job.h"

#include <stdlib.h>

#include "worker/queue/claim.h"
#include "worker/worker.h"

void job_text(const struct job *j, char out[ID_TEXT_MAX])
{
	id_text(j->id, "job_", out);
}

void job_free(struct job *j)
{
	struct worker *w = j->worker;
	timer_stop(&j->deadline);
	list_remove(&w->jobs, &j->link);
	arena_done(&j->arena);
	free(j);
	claimer_wake(w->claimer);
}
