/* SPDX-License-Identifier: Apache-2.0 */
/* The body of POST /v1/batches that names a file (OpenAI: Create batch), read and judged. Pure. */
#ifndef MR_API_BATCHES_BATCH_ORDER_H
#define MR_API_BATCHES_BATCH_ORDER_H

#include "api/batches/batch_line.h"

struct batch_order {
	struct id file;
	enum face_form form;       /* of its lines */
	struct str endpoint, completion_window;
	struct str metadata;       /* JSON object; p NULL: none */
	struct str webhook_url;    /* p NULL: none */
	int64_t window_ms;
	int output_expires_s;      /* 0: not said */
	int priority;
	bool dry_run;
	int64_t max_cost_nanousd;  /* -1: no cap */
};

/* Whether a body is one of these. */
bool batch_order_is(const json_t *body);
/* Texts live in a. 0, or an error whose param is the JSON pointer to the field. */
int batch_order_read(struct arena *a, const struct submission_rules *rules, json_t *body, struct batch_order *ret, struct err *err);

#endif
