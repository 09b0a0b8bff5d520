/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line of a batch's file: {"custom_id", "method": "POST", "url", "body"} (OpenAI: Batch API reference), read in two halves, between which the files
 * that the body names become part of it (file_parts.h). Pure.
 */
#ifndef MR_API_BATCHES_BATCH_LINE_H
#define MR_API_BATCHES_BATCH_LINE_H

#include "api/batches/batch_cost.h"
#include "api/faces/face.h"

#define BATCH_CUSTOM_ID_MAX 512 /* characters */

struct batch_line_rules {
	struct submission_rules job;
	const struct face *face;
	struct str endpoint;
	int priority;          /* of lines that do not say */
	int64_t expires_at_us; /* of the batch: no line outlives it */
	bool capped;           /* what it costs at most must be known */
};

/* What is wrong with a line. err.param is as OpenAI writes it ("body.messages[0].role"), or "". */
struct batch_fault {
	const char *code;   /* invalid_json_line, missing_required_parameter, …; NULL: nothing is */
	struct err err;
};

struct batch_line {
	struct str custom_id;     /* as soon as it is known; p NULL: not */
	struct face_request face; /* between the halves: face.request may be changed */
	struct submission s;      /* after both; its texts are in the arena, or borrowed from here */
	struct batch_cost cost;   /* after both */
	int inputs;               /* of embeddings */
	/* private */
	json_t *value; /* owned */
};

/* 0, or -ERR_INVALID with ret_fault. Either way ret is to be given to batch_line_done. */
int batch_line_open(struct arena *a, const struct batch_line_rules *rules, struct str text, struct batch_line *ret, struct batch_fault *ret_fault);
/* The second half, when line->face.request is as it stays: the job, and what it costs. */
int batch_line_judge(struct arena *a, const struct batch_line_rules *rules, struct batch_line *line, struct batch_fault *ret_fault);
void batch_line_done(struct batch_line *line); /* safe on a zeroed one, and twice */

/* err as a fault of the body: its param is a pointer into that. Returns -ERR_INVALID. */
int batch_line_blame(const struct err *err, struct batch_fault *ret);
/* {"code","message","param","line"}, as OpenAI lists them. */
void batch_fault_write(struct buf *b, const struct batch_fault *f, int64_t line);

/* Form of the lines of an endpoint ("/v1/chat/completions"); FORM_NATIVE: there is none. */
enum face_form batch_endpoint_form(struct str endpoint);
/* Of OpenAI's endpoints those that Millrace does not carry out. */
bool batch_endpoint_is_foreign(struct str endpoint);

#endif
