/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list is fetched page by page and shown as one table, or as one JSON object a line. When there is more than the limit, a line on standard error says
 * how to see it. A page that fails ends the command: what came before it was printed as JSON, a table never begins.
 */
#include "cli/list.h"

#include <stdio.h>

#include "cli/exit.h"
#include "cli/show.h"

void list_add_query(struct buf *path, const char *name, const char *value)
{
	if (!value)
		return;
	buf_printf(path, "%c%s=", str_find_char(buf_str(path), '?') < 0 ? '?' : '&', name);
	client_escape(path, value);
}

static int fetch_page(const struct list *l, struct arena *a, int64_t got, const char *after, struct client_answer *answer)
{
	_cleanup_(buf_done) struct buf path;
	int64_t want = l->limit ? MIN(l->limit - got, l->page) : l->page;
	buf_init(&path, 65536);
	buf_add_str(&path, l->path);
	list_add_query(&path, "limit", arena_printf(a, "%lld", (long long)want).p);
	list_add_query(&path, "after", after);
	const struct client_request r = { .method = "GET", .path = buf_str(&path) };
	return client_call(l->client, &r, answer);
}

/* The objects of all pages go into the table, or onto the screen. */
static int fetch(const struct list *l, struct arena *a, struct term_table *table, bool *ret_more)
{
	const char *after = NULL;
	int64_t got = 0;
	do {
		struct client_answer answer;
		size_t i;
		json_t *object;
		if (fetch_page(l, a, got, after, &answer)) {
			int rc = client_complain(l->client, l->command, &answer);
			client_answer_done(&answer);
			return rc;
		}
		const json_t *data = json_get(answer.body, "data");
		json_array_foreach(data, i, object)
		{
			if (l->json)
				show_json(stdout, object);
			else
				l->add_row(table, a, object);
		}
		got += (int64_t)json_array_size(data);
		after = arena_strz(a, json_str(answer.body, "last_id"));
		*ret_more = json_bool(answer.body, "has_more", false) && json_array_size(data) > 0 && *after;
		client_answer_done(&answer);
	} while (*ret_more && (l->limit == 0 || got < l->limit));
	return CLI_EXIT_OK;
}

int list_print(const struct list *l)
{
	struct arena a;
	struct term term;
	struct term_table table;
	bool more = false;
	arena_init(&a, (size_t)512 << 20);
	term_init(&term, stdout);
	term_table_init(&table, &a, l->columns);
	int rc = fetch(l, &a, &table, &more);
	if (rc == 0 && !l->json) {
		if (table.nrows)
			term_table_print(&table, &term);
		else
			fprintf(stderr, "no %s\n", l->noun);
		fflush(stdout); /* the hint comes below the table */
		if (more)
			fprintf(stderr, "there are more: --limit %lld\n", (long long)l->limit * 10);
	}
	arena_done(&a);
	return rc;
}
