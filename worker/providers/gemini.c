/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The adapter of Google's Gemini API. A request goes to {base}/models/{model}:generateContent, as a stream of server-sent events where that loses
 * nothing (several candidates and log probabilities are asked for whole), or to :batchEmbedContents. The key goes into a header, never into the URL,
 * which ends in logs; a target whose headers bring Authorization (Vertex AI) gets no key.
 *
 * A stream has no end mark: it is good when its last chunk had a finish reason, no event is left unfinished and the connection ended in order. An error
 * may come as a chunk, or bare, as JSON lines that are no events at all: from the first line that begins with a bracket on, what comes is kept and read as
 * one JSON text in the end.
 */
#include "worker/providers/gemini.h"

#include <string.h>

#include "common/conf.h"
#include "worker/providers/hints.h"

#define BODY_MAX ((size_t)1 << 30)

struct provider_call {
	struct arena *arena;
	bool embeddings, base64, streamed, schema;
	size_t inputs;             /* of embeddings */
	struct str model;          /* in the arena */
	int status, should_retry;
	const struct http_header *headers;
	size_t nheaders;
	bool is_sse;               /* what comes is an event stream */
	bool line_start, bare;     /* of the stream: a line begins; bare JSON has begun */
	struct sse sse;
	struct shape shape;        /* of the last chunk that held text only */
	struct buf counted;        /* the last chunk of that shape whose counts were not read yet */
	struct buf whole;          /* what came, when it is no stream; the bare rest of a stream */
	struct gemini_answer answer;
};

/* --- the request --- */

bool gemini_is_vertex(const struct conf_target *t)
{
	for (size_t i = 0; i < t->nheaders; i++)
		if (str_eq_nocase(t->headers[i].name, STR("authorization")))
			return true;
	return false;
}

void gemini_add_model(struct buf *b, struct str model)
{
	static const struct str collections[] = { STR("models/"), STR("tunedModels/"), STR("endpoints/") };
	struct str collection = collections[0];
	for (size_t i = 0; i < ARRAY_LEN(collections); i++)
		if (str_has_prefix(model, collections[i])) {
			collection = collections[i];
			model = str_sub(model, collection.n, model.n);
		}
	buf_add_str(b, collection);
	buf_add_percent(b, model, "@");
}

static bool can_stream(const struct provider_ask *ask)
{
	return ask->target->stream && ask->kind != PROVIDER_EMBEDDINGS && json_i64(ask->request, "n", 1) <= 1 && !json_is_true(json_get(ask->request, "logprobs"));
}

static const char *url(const struct provider_ask *ask, bool streamed, struct arena *a)
{
	const char *method = ask->kind == PROVIDER_EMBEDDINGS ? "batchEmbedContents" : streamed ? "streamGenerateContent?alt=sse" : "generateContent";
	struct buf model;
	buf_init(&model, SIZE_MAX / 8);
	gemini_add_model(&model, ask->target->model);
	const char *all = arena_printf(a, STR_FMT "/" STR_FMT ":%s", STR_ARG(ask->target->base_url), STR_ARG(buf_str(&model)), method).p;
	buf_done(&model);
	return all;
}

static void set_headers(const struct conf_target *t, struct arena *a, struct provider_request *ret)
{
	size_t n = 0;
	ret->headers = arena_array(a, struct http_header, t->nheaders + 3);
	ret->headers[n++] = (struct http_header){ STR("Content-Type"), STR("application/json") };
	ret->headers[n++] = (struct http_header){ STR("Accept"), ret->streamed ? STR("text/event-stream") : STR("application/json") };
	if (t->api_key.n > 0 && !gemini_is_vertex(t))
		ret->headers[n++] = (struct http_header){ STR("x-goog-api-key"), t->api_key };
	for (size_t i = 0; i < t->nheaders; i++)
		ret->headers[n++] = (struct http_header){ t->headers[i].name, t->headers[i].value };
	ret->nheaders = n;
}

static int make(const struct provider_ask *ask, struct arena *a, struct provider_request *ret, struct err *err)
{
	buf_init(&ret->body, BODY_MAX);
	ret->streamed = can_stream(ask);
	ret->method = "POST";
	ret->url = url(ask, ret->streamed, a);
	set_headers(ask->target, a, ret);
	json_t *body = ask->kind == PROVIDER_EMBEDDINGS ? gemini_embed_request(ask, a, err) : gemini_chat_request(ask, a, err);
	if (!body)
		return -ERR_UNSUPPORTED;
	int rc = json_write(&ret->body, body);
	json_decref(body);
	return rc < 0 ? err_set(err, ERR_TOO_LARGE, "the request does not fit into 1 GiB") : 0;
}

/* --- what arrives --- */

/* One candidate, with one part that is text, and nothing that ends it. */
static bool is_plain(const json_t *chunk)
{
	const json_t *candidates = json_get(chunk, "candidates"), *candidate = json_array_get(candidates, 0);
	const json_t *parts = json_get(json_get(candidate, "content"), "parts"), *part = json_array_get(parts, 0);
	return json_array_size(candidates) == 1 && json_array_size(parts) == 1 && json_object_size(part) == 1 && json_is_string(json_get(part, "text")) &&
	       !json_get(candidate, "finishReason") && !json_get(candidate, "logprobsResult") && !json_get(chunk, "promptFeedback") &&
	       !json_get(chunk, "error") && json_i64(candidate, "index", 0) == 0;
}

/* Google writes its JSON with a space, proxies without. */
static void learn_shape(struct provider_call *c, struct str data)
{
	static const struct str spaced = STR("\"text\": \""), tight = STR("\"text\":\"");
	shape_learn(&c->shape, data, str_find(data, spaced) >= 0 ? spaced : tight);
}

/* Of the counts of chunks that were not parsed those of the last one are read. */
static void read_counts(struct provider_call *c)
{
	json_t *chunk = c->counted.n ? json_parse_answer(buf_str(&c->counted), NULL) : NULL;
	gemini_answer_count(&c->answer, chunk);
	json_decref(chunk);
	buf_clear(&c->counted);
}

static int on_event(void *arg, const struct sse_event *e)
{
	struct provider_call *c = arg;
	struct str data = str_trim(e->data), text;
	if (data.n == 0 || str_eq_z(data, "[DONE]")) /* which some proxies add */
		return 0;
	if (!c->answer.error && shape_read(&c->shape, data, /* digits_vary= */ true, &text)) {
		buf_clear(&c->counted);
		buf_add_str(&c->counted, data);
		return text.n ? assembly_text(&c->answer.assembly, DELTA_TEXT, text) : 0;
	}
	read_counts(c);
	json_t *chunk = json_parse_answer(data, NULL);
	if (!chunk)
		return -ERR_BAD_OUTPUT;
	int rc = gemini_answer_take(&c->answer, chunk, 0);
	if (rc == 0 && is_plain(chunk))
		learn_shape(c, data);
	json_decref(chunk);
	return rc;
}

static void drop_call(void *ptr)
{
	struct provider_call *c = ptr;
	shape_done(&c->shape);
	buf_done(&c->counted);
	buf_done(&c->whole);
	sse_done(&c->sse);
	gemini_answer_done(&c->answer);
}

static struct provider_call *start(const struct provider_ask *ask, bool streamed, size_t max_bytes, struct provider_sink sink, struct arena *a)
{
	struct provider_call *c = arena_new(a, struct provider_call);
	c->arena = a;
	c->embeddings = ask->kind == PROVIDER_EMBEDDINGS;
	c->base64 = str_eq_z(json_str(ask->request, "encoding_format"), "base64");
	c->inputs = gemini_embed_inputs(ask->request);
	c->schema = str_eq_z(json_str(json_get(ask->request, "response_format"), "type"), "json_schema");
	c->model = arena_str(a, ask->target->model);
	c->streamed = streamed;
	c->should_retry = -1;
	c->line_start = true;
	shape_init(&c->shape);
	buf_init(&c->counted, max_bytes);
	buf_init(&c->whole, max_bytes);
	sse_init(&c->sse, max_bytes, on_event, c);
	gemini_answer_init(&c->answer, max_bytes, sink, a);
	arena_defer(a, drop_call, c);
	return c;
}

static void answer_head(struct provider_call *c, int status, const struct http_header *h, size_t n)
{
	char type[64];
	c->status = status;
	c->headers = h;
	c->nheaders = n;
	struct str media = http_media_type(http_find(h, n, "content-type"), type, sizeof(type));
	/* Without alt=sse (a proxy may lose it) the same stream comes as one JSON list. */
	c->is_sse = status < 300 && c->streamed && !str_eq_z(media, "application/json");
}

/* Where the first line begins that is bare JSON; the end when there is none. *line_start: whether a line begins with the piece, then whether one begins
 * behind it. (Lines that end with CR alone, which the standard of event streams allows, are no place where bare JSON was ever seen.) */
static size_t find_bare(struct str piece, bool *line_start)
{
	const char *p = piece.p, *end = p + piece.n;
	while (p < end) {
		if (*line_start && (*p == '{' || *p == '['))
			break;
		const char *eol = memchr(p, '\n', (size_t)(end - p));
		*line_start = eol != NULL;
		p = eol ? eol + 1 : end;
	}
	return (size_t)(p - piece.p);
}

/* The bytes before the first line that is bare JSON are events. */
static int feed(struct provider_call *c, struct str piece)
{
	size_t n = c->bare ? 0 : find_bare(piece, &c->line_start);
	int rc = c->bare ? 0 : sse_feed(&c->sse, str_sub(piece, 0, n));
	if (rc < 0 || n == piece.n)
		return rc;
	c->bare = true;
	return buf_add_str(&c->whole, str_sub(piece, n, piece.n));
}

static int answer_data(struct provider_call *c, struct str piece, bool *ret_token)
{
	if (!c->is_sse) {
		*ret_token = c->status < 300 && piece.n > 0;
		return buf_add_str(&c->whole, piece);
	}
	int rc = feed(c, piece);
	*ret_token = c->answer.assembly.token;
	return rc;
}

static const struct assembly *so_far(const struct provider_call *c)
{
	return c->is_sse ? &c->answer.assembly : NULL;
}

/* --- several choices, log probabilities --- */

static json_t *token_of(const json_t *t)
{
	json_t *one = json_object();
	json_set_str(one, "token", json_str(t, "token"));
	json_object_set_new(one, "logprob", json_real(json_number_value(json_get(t, "logProbability"))));
	json_object_set_new(one, "bytes", json_null());
	return one;
}

/* logprobsResult in OpenAI's form. */
static json_t *logprobs_of(const json_t *result)
{
	json_t *content = json_array(), *all = json_object();
	const json_t *chosen, *other;
	size_t i, k;
	json_array_foreach (json_get(result, "chosenCandidates"), i, chosen) {
		json_t *one = token_of(chosen), *top = json_array();
		json_array_foreach (json_get(json_array_get(json_get(result, "topCandidates"), i), "candidates"), k, other)
			json_array_append_new(top, token_of(other));
		json_object_set_new(one, "top_logprobs", top);
		json_array_append_new(content, one);
	}
	json_object_set_new(all, "content", content);
	json_object_set_new(all, "refusal", json_null());
	return all;
}

/* Adds the choice that g has become to the choices of *answer, which the first one makes. */
static void add_choice(json_t **answer, const struct gemini_answer *g, int64_t index)
{
	json_t *own = assembly_answer(&g->assembly, /* partial= */ false), *choice = json_array_get(json_get(own, "choices"), 0);
	json_set_i64(choice, "index", index);
	if (g->logprobs)
		json_object_set_new(choice, "logprobs", logprobs_of(g->logprobs));
	if (*answer) {
		json_array_append(json_get(*answer, "choices"), choice);
		json_decref(own);
	} else {
		*answer = own;
	}
}

/* The candidate with that index, when there is one and it is good. The verdict of the first good one is the answer's. */
static void try_choice(struct provider_call *c, const json_t *body, int64_t index, json_t **answer, struct provider_result *r)
{
	struct gemini_answer g;
	struct provider_result own = { .retry_after_ms = -1, .should_retry = c->should_retry };
	gemini_answer_init(&g, c->whole.max, (struct provider_sink){ NULL, NULL }, c->arena);
	g.assembly.created = c->answer.assembly.created;
	int rc = gemini_answer_take(&g, body, index);
	if (g.has_candidate) {
		gemini_answer_conclude(&g, rc, c->schema, /* whole= */ true, &own);
		buf_done(&own.result);
		r->output_bytes += own.output_bytes;
		if (own.class == ERR_OK)
			add_choice(answer, &g, index);
		if (own.class == ERR_OK && r->class != ERR_OK) {
			r->class = ERR_OK;
			r->message = (struct str){ NULL, 0 };
			r->finish_reason = own.finish_reason;
			r->has_partial = false;
		}
	}
	gemini_answer_done(&g);
}

static void add_choices(struct provider_call *c, const json_t *body, struct provider_result *r)
{
	json_t *answer = NULL;
	if (r->class == ERR_OK)
		add_choice(&answer, &c->answer, 0);
	for (int64_t i = 1; i < GEMINI_CHOICES_MAX; i++)
		try_choice(c, body, i, &answer, r);
	if (!answer)
		return;
	buf_clear(&r->result);
	if (json_write(&r->result, answer) < 0) {
		buf_clear(&r->result);
		r->class = ERR_TOO_LARGE;
		r->message = STR("the answer is too large");
	}
	json_decref(answer);
}

/* --- the end --- */

static void read_error(struct provider_call *c, const json_t *body, int64_t now_wall_us, struct provider_result *r)
{
	gemini_failure(r, 0, body, -1, now_wall_us, c->arena);
}

static void bad(struct provider_call *c, struct provider_result *r, enum err_code class, const char *message)
{
	r->class = class;
	r->message = arena_str(c->arena, str_from(message));
}

static void end_embeddings(struct provider_call *c, int rc, int64_t now_wall_us, struct provider_result *r)
{
	json_t *body = rc == 0 ? json_parse_answer(buf_str(&c->whole), NULL) : NULL, *answer = NULL;
	const json_t *error = json_get(json_is_array(body) ? json_array_get(body, 0) : body, "error");
	r->usage_known = gemini_read_usage(&r->usage, json_get(body, "usageMetadata"));
	if (rc < 0)
		r->class = (enum err_code)-rc;
	else if (error && !json_is_null(error))
		read_error(c, body, now_wall_us, r);
	else if (!(answer = gemini_embed_answer(body, c->inputs, c->base64, c->model)))
		bad(c, r, ERR_BAD_OUTPUT, "the answer does not hold one embedding for each input");
	if (answer && r->usage_known)
		json_object_set_new(answer, "usage", assembly_usage_object(&r->usage));
	if (answer && json_write(&r->result, answer) < 0) {
		buf_clear(&r->result);
		bad(c, r, ERR_TOO_LARGE, "the answer is too large");
	}
	json_decref(answer);
	json_decref(body);
}

static void end_whole(struct provider_call *c, int rc, int64_t now_wall_us, struct provider_result *r)
{
	struct err err = { .code = ERR_OK };
	json_t *body = rc == 0 ? json_parse_answer(buf_str(&c->whole), &err) : NULL;
	if (rc == 0 && !body)
		bad(c, r, ERR_BAD_OUTPUT, err.text);
	if (body)
		rc = gemini_answer_take(&c->answer, body, 0);
	if (c->answer.error)
		read_error(c, c->answer.error, now_wall_us, r);
	gemini_answer_conclude(&c->answer, rc, c->schema, /* whole= */ true, r);
	if (rc == 0 && (c->answer.logprobs || json_array_size(json_get(body, "candidates")) > 1))
		add_choices(c, body, r);
	json_decref(body);
}

static void end_stream(struct provider_call *c, int rc, int64_t now_wall_us, struct provider_result *r)
{
	read_counts(c);
	json_t *rest = c->bare && !c->answer.error ? json_parse_answer(buf_str(&c->whole), NULL) : NULL;
	int taken = rest ? gemini_answer_take(&c->answer, rest, 0) : 0;
	json_decref(rest);
	bool unfinished = c->sse.line.n > 0 || c->sse.has_data || (c->bare && !rest);
	if (rc == 0)
		rc = taken < 0 ? taken : unfinished ? -ERR_STREAM_CUT : 0;
	if (c->answer.error)
		read_error(c, c->answer.error, now_wall_us, r);
	gemini_answer_conclude(&c->answer, rc, c->schema, /* whole= */ false, r);
}

static void end_failure(struct provider_call *c, int64_t now_wall_us, struct provider_result *r)
{
	json_t *body = json_parse_answer(buf_str(&c->whole), NULL);
	gemini_failure(r, c->status, body, retry_hint_ms(c->headers, c->nheaders, now_wall_us), now_wall_us, c->arena);
	json_decref(body);
	buf_init(&r->result, BODY_MAX);
}

static void answer_end(struct provider_call *c, int transport_rc, int64_t now_wall_us, struct provider_result *r)
{
	*r = (struct provider_result){ .retry_after_ms = -1, .should_retry = c->should_retry };
	c->answer.assembly.created = MAX(now_wall_us, 0) / 1000000; /* Gemini does not say */
	if (c->status >= 300)
		end_failure(c, now_wall_us, r);
	else if (c->embeddings) {
		buf_init(&r->result, BODY_MAX);
		end_embeddings(c, transport_rc, now_wall_us, r);
	} else if (c->is_sse)
		end_stream(c, transport_rc, now_wall_us, r);
	else
		end_whole(c, transport_rc, now_wall_us, r);
	drop_call(c); /* the arena may live through many more calls */
}

const struct provider provider_gemini = {
	.name = "gemini",
	.make = make,
	.start = start,
	.answer_head = answer_head,
	.answer_data = answer_data,
	.so_far = so_far,
	.answer_end = answer_end,
};
