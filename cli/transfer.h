/* SPDX-License-Identifier: Apache-2.0 */
/* Files on their way: from this machine to the service's files, and back. What goes wrong is said on standard error. */
#ifndef MR_CLI_TRANSFER_H
#define MR_CLI_TRANSFER_H

#include <stdio.h>

#include "cli/client.h"

#define TRANSFER_MAX ((size_t)512 << 20) /* bytes of a file that is sent, as limits.file_bytes is by default */

/* Reads a file, or standard input by the name "-", into text (TRANSFER_MAX at most; the caller's buf_done). 0, or an exit status. */
int transfer_read(const char *command, const char *name, struct buf *text);

struct transfer_wish {
	const char *command;
	const char *filename;        /* as it is to be called; a path's last part is taken */
	const char *purpose;         /* "batch" */
	int64_t expires_s;           /* 0: the service's rule */
	const char *idempotency_key; /* or NULL: a new one */
};

/* POST /v1/files. 0: *ret is the file's object (json_decref). Else an exit status. */
int transfer_send(struct client *c, const struct transfer_wish *w, struct str content, json_t **ret);

/*
 * Where content goes: `name` is a file, "-" standard output, NULL the same unless that is a terminal, which is not shown bytes that nobody has looked at.
 * 0, or an exit status.
 */
int transfer_open(const char *command, const char *name, FILE **ret);
/* After transfer_open: says when not all could be written. The exit status, rc unless that is 0. */
int transfer_close(const char *command, const char *name, FILE *out, int rc);

/* GET /v1/files/ID/content into out. An exit status. */
int transfer_fetch(struct client *c, const char *command, struct str id, FILE *out);

#endif
