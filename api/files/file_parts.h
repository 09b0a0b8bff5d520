/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that the parts of a native chat request name by id become part of the request, as data URLs:
 *
 *   {"type":"file","file":{"file_id":"file-…"}}            → {"type":"file","file":{"filename":"…","file_data":"data:application/pdf;base64,…"}}
 *   {"type":"image_url","image_url":{"file_id":"file-…"}}  → {"type":"image_url","image_url":{"url":"data:image/png;base64,…"}}
 *
 * The media type is the file's, else that of its name's ending. Only files of the tenant exist. A request without such parts needs no database.
 */
#ifndef MR_API_FILES_FILE_PARTS_H
#define MR_API_FILES_FILE_PARTS_H

#include "api/files/blob_read.h"
#include "common/buf.h"
#include "common/json.h"

struct file_parts {
	/* Completes with 0, or negative with err set, naming the part by its pointer: -ERR_NOT_FOUND (there is no such file), -ERR_INVALID (no id; not an
	 * image), -ERR_TOO_LARGE (all together are over limits.inlined_bytes), or as a query. Some parts may be replaced then. */
	struct op op;
	struct err err;
	int count;        /* parts that were replaced */
	/* private */
	struct api *api;
	int64_t tenant_id;
	json_t *request;  /* borrowed */
	const char *base; /* borrowed */
	json_t *member;   /* of the part at hand: its `file` or `image_url`; borrowed from request */
	bool is_image, is_open;
	size_t message, part; /* where to look on */
	int64_t bytes;    /* that were inlined */
	struct buf url;
	struct blob_read read;
	char tail[3];     /* bytes that wait for a third, as base64 wants */
	size_t tail_n;
};

/* Whether there is anything to do: cheap. */
bool file_parts_has(const json_t *request);
/* p is the caller's memory, zeroed or done; request (an object with `messages`) and base (the pointer to it, "" or "/request") stay until the completion.
 * Exactly one completion comes, at once when there is nothing to do: return FLOW_WAIT after it. flow NULL: to op.on_done,
 * which was set before. */
void file_parts_start(struct file_parts *p, struct api *api, int64_t tenant_id, json_t *request, const char *base, struct flow *flow);
/* Frees what it holds; it has completed. Safe on a zeroed one, and twice. */
void file_parts_done(struct file_parts *p);

#endif
