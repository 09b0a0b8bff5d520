/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A multipart form in the body of a request, taken in as it arrives: one file, which becomes a blob, and short fields of text, in any order.
 *
 *   in the route's steps: form_begin ─▶ form_receive (an op) ─▶ form.blob is being written: blob_write_end ─▶ …
 *
 * q->state points to the handler's own struct, whose first member is the struct form. A database that is slow holds the body back; a client that leaves
 * ends form_receive with -ERR_CANCELED.
 */
#ifndef MR_API_FILES_FORM_H
#define MR_API_FILES_FORM_H

#include "api/files/blob_write.h"
#include "api/request.h"
#include "common/crypto.h"
#include "common/http/multipart.h"

#define FORM_FIELD_MAX 1024         /* bytes of a field of text */
#define FORM_FRAME_MAX (1u << 20)   /* of a body beside its file; MULTIPART_PARTS_MAX parts with heads and fields fit */

struct form {
	struct op op;               /* of form_receive; completes with 0 or an error, which is in q->err or is -ERR_CANCELED or of the database */
	/* Set before form_begin. */
	const char *file;           /* name of the part that is the file */
	bool needs_filename;
	bool wants_digest;          /* SHA-256 of the file */
	int64_t most;               /* bytes of the file; on_field may lower it */
	struct id blob_id;
	/* A field is whole. 0 or negative with q->err. Unknown ones are its to refuse. Texts are borrowed until it returns. */
	int (*on_field)(struct request *q, struct str name, struct str value);
	/* What came. */
	struct blob_write blob;     /* begun when has_file */
	struct str filename;        /* in the arena; p NULL: none */
	struct str mime_type;       /* likewise */
	uint8_t digest[SHA256_LEN];
	bool has_file;
	/* private */
	struct request *q;
	struct multipart *parser;   /* in the arena */
	struct crypto_digest hash;
	struct buf field;
	bool in_file, is_counted, is_over;
};

/* Takes the body of routes with BODY_MULTIPART; the steps are the route's. */
extern const struct body_stream form_stream;

/* The first of a request's steps calls it. The body waits until form_receive. 0, or negative with q->err: too many at once, not a form. */
int form_begin(struct request *q);
enum flow_next form_receive(struct request *q);
/* Frees what it holds and is not in the arena; for q->release. The blob's writer is done, ended or dropped before. */
void form_done(struct request *q);

#endif
