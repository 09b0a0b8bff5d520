/* SPDX-License-Identifier: Apache-2.0 */
/* The service's lists, page by page: what the list commands share. */
#ifndef MR_CLI_LIST_H
#define MR_CLI_LIST_H

#include "cli/client.h"
#include "cli/term.h"

/* Adds "?name=value", or "&name=value" behind the first parameter, to a path; nothing when value is NULL. */
void list_add_query(struct buf *path, const char *name, const char *value);

struct list {
	struct client *client; /* borrowed */
	const char *command;   /* for complaints: "jobs list" */
	const char *noun;      /* of an empty list: "jobs" */
	struct str path;       /* "/v1/jobs?status=queued"; borrowed */
	int64_t limit;         /* objects at most; 0: all */
	int64_t page;          /* objects a page, as many as the service allows */
	bool json;             /* print the objects, one a line, in place of the table */
	/* The table, when json is not set: a row's cells, one per column, made in a. */
	const struct term_column *columns;
	void (*add_row)(struct term_table *t, struct arena *a, const json_t *object);
};

/* Fetches and prints it. An exit status; what went wrong has been said. */
int list_print(const struct list *l);

#endif
