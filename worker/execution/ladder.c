/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The prepared answers go to the database with the question, and PostgreSQL's text search ranks them: the configuration has a few dozen at most, so nothing is
 * stored. The words of `match` are alternatives; the more of them stand in the question, the better the answer fits. An answer without `match` is
 * the last resort. A database that is away serves that one, too.
 */
#include "worker/execution/ladder.h"

#include <stdlib.h>

#include "common/clock.h"
#include "sql_worker.h"
#include "worker/worker.h"

#define QUESTION_MAX 20000 /* bytes that are looked at */

static struct str answer_object(struct arena *a, const char *model, struct str text, int64_t now_wall_us)
{
	struct buf b;
	json_t *answer = json_object(), *choices = json_array(), *choice = json_object(), *message = json_object(), *usage = json_object();
	json_set_str(message, "role", STR("assistant"));
	json_set_str(message, "content", text);
	json_object_set_new(message, "refusal", json_null());
	json_set_i64(choice, "index", 0);
	json_object_set_new(choice, "message", message);
	json_object_set_new(choice, "logprobs", json_null());
	json_set_str(choice, "finish_reason", STR("stop"));
	json_array_append_new(choices, choice);
	json_set_str(answer, "id", STR("chatcmpl-static"));
	json_set_str(answer, "object", STR("chat.completion"));
	json_set_i64(answer, "created", now_wall_us / 1000000);
	json_set_str(answer, "model", str_from(model));
	json_object_set_new(answer, "choices", choices);
	json_set_i64(usage, "prompt_tokens", 0);
	json_set_i64(usage, "completion_tokens", 0);
	json_set_i64(usage, "total_tokens", 0);
	json_object_set_new(answer, "usage", usage);
	buf_init(&b, (size_t)64 << 20);
	struct str ret = { NULL, 0 };
	if (json_write(&b, answer) == 0)
		ret = arena_str(a, buf_str(&b));
	buf_done(&b);
	json_decref(answer);
	return ret;
}

static void take_answer(struct ladder_op *op, size_t at)
{
	if (at < op->route->nanswers)
		op->result = answer_object(&op->job->arena, "static", op->route->answers[at].text, clock_wall_us());
}

static size_t last_resort(const struct conf_route *route)
{
	size_t i = 0;
	while (i < route->nanswers && route->answers[i].match.n > 0)
		i++;
	return i;
}

static void on_ranked(struct op *query_op, int rc)
{
	struct ladder_op *op = container_of(container_of(query_op, struct db_query, op), struct ladder_op, query);
	if (rc == 0 && db_rows(&op->query) > 0)
		take_answer(op, (size_t)db_get_int(&op->query, 0, 0) - 1);
	else if (rc != -ERR_CANCELED)
		take_answer(op, last_resort(op->route));
	db_query_done(&op->query);
	op_done(&op->op, rc == -ERR_CANCELED ? rc : 0);
}

static void cancel(struct op *op)
{
	op_cancel(&container_of(op, struct ladder_op, op)->query.op);
}

void ladder_static(struct worker *w, struct ladder_op *op, struct job *j, const struct conf_route *route, struct str question, struct flow *flow)
{
	*op = (struct ladder_op){ .job = j, .route = route };
	op_start(&op->op, flow, "a prepared answer", cancel);
	if (!question.p || last_resort(route) == 0) {
		take_answer(op, last_resort(route));
		op_done(&op->op, 0);
		return;
	}
	struct db_array matches;
	db_array_init(&matches, DB_TEXT, (size_t)16 << 20);
	for (size_t i = 0; i < route->nanswers; i++)
		db_array_text(&matches, route->answers[i].match);
	db_query_init(&op->query, &sql_worker_static_answer);
	op->query.op.on_done = on_ranked;
	op->query.retry_ms = 0;
	db_arg_array(&op->query.args, &matches);
	db_arg_text(&op->query.args, str_utf8_prefix(question, QUESTION_MAX));
	db_array_done(&matches);
	if (db_query_start(w->db, &op->query, NULL) == 0)
		return;
	db_query_done(&op->query);
	take_answer(op, last_resort(route));
	op_done(&op->op, 0);
}
