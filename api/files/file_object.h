/* SPDX-License-Identifier: Apache-2.0 */
/* What a file is to its clients: its object, and the rules on purpose, name, size and life. OpenAI: Files API reference. */
#ifndef MR_API_FILES_FILE_OBJECT_H
#define MR_API_FILES_FILE_OBJECT_H

#include "common/db/db.h"

#define FILE_NAME_MAX 512 /* bytes */

/* Texts are borrowed. */
struct file_facts {
	struct id id;
	int64_t bytes, created_us, expires_us; /* expires_us 0: never */
	struct str filename, purpose;
};

/* A row with the columns of file_get.sql. */
void file_facts_read(const struct db_query *q, int row, struct file_facts *ret);
void file_object_write(struct buf *b, const struct file_facts *f);

/* The part of a name behind its last / or \. */
struct str file_name_of(struct str given);
/* May a client give such a file? 0, or negative with err as OpenAI says it. purpose as a client may give it: batch_output is not. */
int file_check(struct str purpose, struct str filename, int64_t bytes, struct err *err);
/* The members of expires_after: 0, or negative with err at param, which is how the caller's form names them. */
int file_check_anchor(struct str anchor, const char *param, struct err *err);
int file_check_seconds(int64_t seconds, const char *param, struct err *err);
/* How long a file lives, in seconds; 0: for ever. given: of expires_after; 0: none. */
int64_t file_life_s(struct str purpose, int64_t given);

#endif
