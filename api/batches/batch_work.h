/* SPDX-License-Identifier: Apache-2.0 */
/* A batch from a file, as the one who keeps it knows it: what batch_keeper.c gives to validation, loading and output. */
#ifndef MR_API_BATCHES_BATCH_WORK_H
#define MR_API_BATCHES_BATCH_WORK_H

#include "api/batches/batch_line.h"

struct api;

#define BATCH_LEASE_MS 10000 /* a keeper that died is followed by another after so long */
#define BATCH_SLICE_US 2000  /* of the loop's time in one turn */

/* batch_file.stage */
enum batch_stage { BATCH_VALIDATING, BATCH_LOADING, BATCH_RUNNING, BATCH_FINALIZING, BATCH_OVER, BATCH_FAILED };

struct batch_work {
	struct api *api;
	struct arena arena;          /* its texts */
	struct id id, keeper, input_file;
	int64_t tenant_id;
	int weight, priority, total, loaded;
	enum face_form form;
	enum batch_stage stage;
	struct str endpoint, key_prefix; /* key_prefix: p NULL: none */
	int64_t loaded_at, expires_at_us, output_expires_s;
	int64_t max_cost_nanousd;    /* -1: no cap */
	bool dry_run, capped;
	/* Learned while it is kept. */
	bool is_late;                /* its deadline has passed */
	bool is_canceled;
	bool is_lost;                /* another has it */
	bool stopping;               /* the process ends */
	bool is_over;                /* all its jobs have ended */
};

/* 0, or why work on it has to end: -ERR_LEASE_LOST or -ERR_DRAINING. */
static inline int batch_work_go_on(const struct batch_work *w)
{
	if (w->is_lost)
		return -(int)ERR_LEASE_LOST;
	return w->stopping ? -(int)ERR_DRAINING : 0;
}

/* Rules for its lines; for the turn of the loop. */
void batch_work_rules(const struct batch_work *w, struct batch_line_rules *ret);

#endif
