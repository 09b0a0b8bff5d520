/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job as the Response object (OpenAI: API reference, the response object), in whatever state it is.
 *
 *   output   what was reasoned in plain text, the message, and the calls of functions, in this order, each where there is one
 *   status   a job that succeeded is `completed`; `incomplete` when it ended at the token limit, in a content filter or when its time was over, also
 *            where Millrace counts that as a failure; canceled is `cancelled`, expired is `failed`
 *   error    the class in the words that OpenAI has for it: rate_limit_exceeded, invalid_prompt, server_error
 *
 * Everything else is repeated from the request: a table says the members in order, and what stands for those that were not given. The ids of items are
 * the response's own, so that each time they are the same.
 */
#include "api/faces/response.h"

#include "api/jobs/job_object.h"

const struct face face_response = {
	.form = FORM_RESPONSE,
	.name = "response",
	.id_prefix = "resp_",
	.kind = SUBMISSION_CHAT,
	.read = response_read,
	.write = response_write,
	.stream_begin = response_stream_begin,
	.stream_delta = response_stream_delta,
	.stream_end = response_stream_end,
	.stream_fail = response_stream_fail,
	.pointer = response_pointer,
};

/* --- what a result says --- */

/* Text, or with some servers a list of parts with text in them. */
static struct str text_of(struct response_message *m, const json_t *content)
{
	if (!json_is_array(content))
		return json_str_of(content);
	for (size_t i = 0; i < json_array_size(content); i++)
		buf_add_str(&m->joined, json_str(json_array_get(content, i), "text"));
	return buf_str(&m->joined);
}

bool response_message_init(struct response_message *m, const json_t *result)
{
	const json_t *choice = json_array_get(json_get(result, "choices"), 0), *said = json_get(choice, "message");
	const json_t *calls = json_get(said, "tool_calls"), *logprobs = json_get(json_get(choice, "logprobs"), "content");
	*m = (struct response_message){ 0 };
	buf_init(&m->joined, (size_t)1 << 30);
	m->reasoning = json_str(said, "reasoning_content");
	if (m->reasoning.n == 0)
		m->reasoning = json_str(said, "reasoning");
	m->text = text_of(m, json_get(said, "content"));
	m->refusal = json_str(said, "refusal");
	m->calls = json_array_size(calls) > 0 ? calls : NULL;
	m->logprobs = json_is_array(logprobs) ? logprobs : NULL;
	return json_is_object(said);
}

void response_message_done(struct response_message *m)
{
	buf_done(&m->joined);
}

void response_call_init(struct response_call *c, struct id id, size_t index, const json_t *call)
{
	const json_t *function = json_get(call, "function"), *arguments = json_get(function, "arguments");
	buf_init(&c->id_room, 256);
	buf_init(&c->room, (size_t)1 << 30);
	c->call_id = json_str(call, "id");
	if (c->call_id.n == 0) {
		response_item_id(&c->id_room, "call_", id, index);
		c->call_id = buf_str(&c->id_room);
	}
	c->name = json_str(function, "name");
	c->arguments = json_str_of(arguments);
	if (json_is_object(arguments)) {
		json_write(&c->room, arguments);
		c->arguments = buf_str(&c->room);
	}
	if (c->arguments.n == 0)
		c->arguments = STR("{}");
}

void response_call_done(struct response_call *c)
{
	buf_done(&c->id_room);
	buf_done(&c->room);
}

/* --- items --- */

void response_item_id(struct buf *b, const char *prefix, struct id id, size_t n)
{
	char room[ID_TEXT_MAX];
	buf_add_str(b, id_text(id, prefix, room));
	if (n > 0)
		buf_printf(b, "_%zu", n);
}

static void item_head(struct buf *b, const char *prefix, struct id id, size_t n, const char *type)
{
	buf_add_z(b, "{\"id\":\"");
	response_item_id(b, prefix, id, n);
	buf_printf(b, "\",\"type\":\"%s\",", type);
}

void response_write_text_part(struct buf *b, struct str text, const json_t *logprobs)
{
	buf_add_z(b, "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":");
	if (logprobs)
		json_write(b, logprobs);
	else
		buf_add_z(b, "[]");
	buf_add_z(b, ",\"text\":");
	buf_add_json_str(b, text);
	buf_add_char(b, '}');
}

void response_write_refusal_part(struct buf *b, struct str text)
{
	buf_add_z(b, "{\"type\":\"refusal\",\"refusal\":");
	buf_add_json_str(b, text);
	buf_add_char(b, '}');
}

void response_write_reasoning_item(struct buf *b, struct id id, size_t n, const char *status, struct str text)
{
	item_head(b, "rs_", id, n, "reasoning");
	buf_printf(b, "\"status\":\"%s\",\"summary\":[],\"content\":[", status);
	if (text.n) {
		buf_add_z(b, "{\"type\":\"reasoning_text\",\"text\":");
		buf_add_json_str(b, text);
		buf_add_char(b, '}');
	}
	buf_add_z(b, "]}");
}

void response_write_message_item(struct buf *b, struct id id, size_t n, const char *status, struct str text, bool has_text, struct str refusal,
                                 const json_t *logprobs)
{
	item_head(b, "msg_", id, n, "message");
	buf_printf(b, "\"status\":\"%s\",\"role\":\"assistant\",\"content\":[", status);
	if (has_text)
		response_write_text_part(b, text, logprobs);
	if (has_text && refusal.n)
		buf_add_char(b, ',');
	if (refusal.n)
		response_write_refusal_part(b, refusal);
	buf_add_z(b, "]}");
}

void response_write_call_item(struct buf *b, struct id id, size_t n, const char *status, struct str call_id, struct str name, struct str arguments)
{
	item_head(b, "fc_", id, n, "function_call");
	buf_printf(b, "\"status\":\"%s\",\"call_id\":", status);
	buf_add_json_str(b, call_id);
	buf_add_z(b, ",\"name\":");
	buf_add_json_str(b, name);
	buf_add_z(b, ",\"arguments\":");
	buf_add_json_str(b, arguments);
	buf_add_char(b, '}');
}

/* What was cut is the last of them. */
static void write_output(struct buf *b, struct id id, const struct response_message *m, const char *last)
{
	size_t calls = json_array_size(m->calls);
	bool has_message = m->text.n || m->refusal.n || (!calls && !m->reasoning.n);
	if (m->reasoning.n)
		response_write_reasoning_item(b, id, 0, has_message || calls ? "completed" : last, m->reasoning);
	if (m->reasoning.n && (has_message || calls))
		buf_add_char(b, ',');
	if (has_message)
		response_write_message_item(b, id, 0, calls ? "completed" : last, m->text, m->text.n || !m->refusal.n, m->refusal, m->logprobs);
	for (size_t i = 0; i < calls; i++) {
		struct response_call c;
		response_call_init(&c, id, i, json_array_get(m->calls, i));
		if (i > 0 || has_message)
			buf_add_char(b, ',');
		response_write_call_item(b, id, i, i + 1 < calls ? "completed" : last, c.call_id, c.name, c.arguments);
		response_call_done(&c);
	}
}

/* --- the state --- */

/* Why a response is not complete, as a member `reason`; "" where OpenAI has no word for it; NULL: it is not incomplete. */
static const char *why_incomplete(const struct face_answer *j)
{
	struct str finish = json_str(json_array_get(json_get(j->result, "choices"), 0), "finish_reason");
	bool failed = j->status == STATUS_FAILED;
	if (failed ? str_eq_z(j->error_code, err_code_name(ERR_OUTPUT_TRUNCATED)) : j->status == STATUS_SUCCEEDED && str_eq_z(finish, "length"))
		return "max_output_tokens";
	if (failed ? str_eq_z(j->error_code, err_code_name(ERR_CONTENT_FILTER)) : j->status == STATUS_SUCCEEDED && str_eq_z(finish, "content_filter"))
		return "content_filter";
	return j->status == STATUS_SUCCEEDED && j->partial ? "" : NULL;
}

const char *response_status(const struct face_answer *j)
{
	if (why_incomplete(j))
		return "incomplete";
	switch ((enum job_object_status)j->status) {
	case STATUS_SCHEDULED:
	case STATUS_QUEUED:
		return j->background ? "queued" : "in_progress";
	case STATUS_RUNNING:
		return "in_progress";
	case STATUS_SUCCEEDED:
		return "completed";
	case STATUS_CANCELED:
		return "cancelled";
	case STATUS_FAILED:
	case STATUS_EXPIRED:
		break;
	}
	return "failed";
}

static void write_error(struct buf *b, const struct face_answer *j)
{
	struct face_error e = face_error_of(j->error_code);
	const char *code = e.status == 429 ? "rate_limit_exceeded" : e.status >= 400 && e.status < 500 ? "invalid_prompt" : "server_error";
	enum err_code class = err_by_code_name(j->error_code);
	struct str message = j->error_message.n ? j->error_message : str_from(err_title((int)class));
	buf_printf(b, "{\"code\":\"%s\",\"message\":", code);
	buf_add_json_str(b, message);
	buf_add_char(b, '}');
}

static void write_usage(struct buf *b, const json_t *usage)
{
	const json_t *in = json_get(usage, "prompt_tokens_details"), *out = json_get(usage, "completion_tokens_details");
	if (!json_is_object(usage)) {
		buf_add_z(b, "null");
		return;
	}
	int64_t input = json_i64(usage, "prompt_tokens", 0), output = json_i64(usage, "completion_tokens", 0);
	buf_printf(b, "{\"input_tokens\":%lld,\"input_tokens_details\":{\"cached_tokens\":%lld,\"cache_write_tokens\":%lld},", (long long)input,
	           (long long)json_i64(in, "cached_tokens", 0), (long long)json_i64(in, "cache_write_tokens", 0));
	buf_printf(b, "\"output_tokens\":%lld,\"output_tokens_details\":{\"reasoning_tokens\":%lld},\"total_tokens\":%lld}", (long long)output,
	           (long long)json_i64(out, "reasoning_tokens", 0), (long long)json_i64(usage, "total_tokens", input + output));
}

/* --- the object --- */

/* What is repeated, in the order of OpenAI's answers, and what stands for it where it was not given. */
static const struct {
	const char *name, *otherwise;
} repeated[] = {
	{ "instructions", "null" },
	{ "max_output_tokens", "null" },
	{ "max_tool_calls", "null" },
	{ "parallel_tool_calls", "true" },
	{ "previous_response_id", "null" },
	{ "prompt_cache_key", "null" },
	{ "prompt_cache_retention", "null" },
	{ "reasoning", "{\"effort\":null,\"summary\":null}" },
	{ "safety_identifier", "null" },
	{ "store", "true" },
	{ "temperature", "null" },
	{ "text", "{\"format\":{\"type\":\"text\"}}" },
	{ "tool_choice", "\"auto\"" },
	{ "tools", "[]" },
	{ "top_logprobs", "null" },
	{ "top_p", "null" },
	{ "truncation", "\"disabled\"" },
};

static void write_repeated(struct buf *b, const struct face_answer *j)
{
	for (size_t i = 0; i < ARRAY_LEN(repeated); i++) {
		const json_t *v = json_get(j->echo, repeated[i].name);
		buf_printf(b, "\"%s\":", repeated[i].name);
		if (v)
			json_write(b, v);
		else
			buf_add_z(b, repeated[i].otherwise);
		buf_add_char(b, ',');
	}
	/* The tier that served, else the one that was asked for. */
	const json_t *tier = json_get(j->result, "service_tier");
	if (!json_is_string(tier))
		tier = json_get(j->echo, "service_tier");
	buf_add_z(b, "\"service_tier\":");
	buf_add_json_str(b, tier ? json_str_of(tier) : STR("default"));
	/* As the client gave them: the job's own hold what was known of it from elsewhere, too. */
	const json_t *metadata = json_get(j->echo, "metadata");
	buf_add_z(b, ",\"metadata\":");
	if (metadata)
		json_write(b, metadata);
	else
		buf_add_str(b, j->echo || !j->metadata.n ? STR("{}") : j->metadata);
	buf_add_z(b, ",\"user\":");
	const json_t *user = json_get(j->echo, "user");
	job_object_text(b, j->echo ? (user ? json_str_of(user) : (struct str){ NULL, 0 }) : j->user);
}

static void write_times(struct buf *b, const struct face_answer *j, bool completed)
{
	buf_printf(b, ",\"object\":\"response\",\"created_at\":%lld,\"completed_at\":", (long long)(j->created_us / 1000000));
	if (completed)
		buf_printf(b, "%lld", (long long)(j->finished_us / 1000000));
	else
		buf_add_z(b, "null");
}

static void write_state(struct buf *b, const struct face_answer *j)
{
	const char *status = response_status(j), *why = why_incomplete(j);
	write_times(b, j, str_eq_z(STR("completed"), status));
	buf_printf(b, ",\"status\":\"%s\",\"background\":%s,\"error\":", status, j->background ? "true" : "false");
	if (str_eq_z(STR("failed"), status))
		write_error(b, j);
	else
		buf_add_z(b, "null");
	buf_add_z(b, ",\"incomplete_details\":");
	if (why && why[0])
		buf_printf(b, "{\"reason\":\"%s\"}", why);
	else
		buf_add_z(b, why ? "{}" : "null");
}

int response_write(struct buf *b, const struct face_answer *j)
{
	struct response_message m;
	bool said = response_message_init(&m, j->result);
	if (j->status == STATUS_SUCCEEDED && !said) {
		response_message_done(&m);
		return -(int)ERR_BAD_OUTPUT;
	}
	buf_add_z(b, "{\"id\":");
	job_object_id(b, j->id, "resp_");
	write_state(b, j);
	buf_add_z(b, ",\"model\":");
	buf_add_json_str(b, j->model);
	buf_add_z(b, ",\"output\":[");
	if (said)
		write_output(b, j->id, &m, why_incomplete(j) ? "incomplete" : "completed");
	buf_add_z(b, "],");
	write_repeated(b, j);
	buf_add_z(b, ",\"usage\":");
	write_usage(b, json_get(j->result, "usage"));
	buf_add_char(b, '}');
	response_message_done(&m);
	return 0;
}
