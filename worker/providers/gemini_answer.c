/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A GenerateContentResponse, whole or a chunk of a stream, into an assembly ("Gemini API: GenerateContentResponse"). Each chunk is a response of its
 * own with new parts; the last one has the finish reason, the last usage counts.
 *
 * Google says STOP for everything that ended well, calls and texts alike, and has a dozen words for what did not. What is none of the known
 * words stays as it is and is no success. A prompt that was blocked has no candidates and says why in promptFeedback. What the API may send besides text
 * and calls (pictures, executed code) has no place in a chat answer: it is counted, and told where nothing else came.
 */
#include "worker/providers/gemini.h"

#define COUNT_MAX ((int64_t)1 << 40)
#define ID_MAX    500

void gemini_answer_init(struct gemini_answer *g, size_t max_bytes, struct provider_sink sink, struct arena *a)
{
	*g = (struct gemini_answer){ .tools = 0 };
	assembly_init(&g->assembly, max_bytes, sink, a);
}

void gemini_answer_done(struct gemini_answer *g)
{
	assembly_done(&g->assembly);
	json_drop(&g->error);
	json_drop(&g->logprobs);
}

/* --- usage --- */

static int64_t count_of(const json_t *o, const char *key)
{
	int64_t n = json_i64(o, key, 0);
	return n < 0 ? 0 : MIN(n, COUNT_MAX);
}

static int64_t modality(const json_t *details, const char *name)
{
	const json_t *one;
	size_t i;
	int64_t sum = 0;
	json_array_foreach (details, i, one)
		if (str_eq_z(json_str(one, "modality"), name))
			sum = MIN(sum + count_of(one, "tokenCount"), COUNT_MAX);
	return sum;
}

bool gemini_read_usage(struct provider_usage *ret, const json_t *m)
{
	if (!json_is_integer(json_get(m, "promptTokenCount")))
		return false;
	struct provider_usage u = { 0 };
	u.input = count_of(m, "promptTokenCount") + count_of(m, "toolUsePromptTokenCount");
	u.cached_input = count_of(m, "cachedContentTokenCount");
	u.reasoning = count_of(m, "thoughtsTokenCount"); /* outside the candidates' count */
	u.output = count_of(m, "candidatesTokenCount") + u.reasoning;
	u.audio_input = modality(json_get(m, "promptTokensDetails"), "AUDIO");
	u.image_input = modality(json_get(m, "promptTokensDetails"), "IMAGE");
	u.disagrees = json_is_integer(json_get(m, "totalTokenCount")) && json_i64(m, "totalTokenCount", 0) != u.input + u.output;
	assembly_usage_tidy(&u);
	*ret = u;
	return u.input > 0 || u.output > 0;
}

/* Google AI says flex, standard or priority, Vertex AI how the traffic is paid for. */
static void keep_tier(struct assembly *s, const json_t *metadata)
{
	struct str tier = json_str(metadata, "serviceTier");
	if (tier.n == 0)
		tier = json_str(metadata, "trafficType");
	if (str_eq_nocase(tier, STR("standard")) || str_eq_z(tier, "ON_DEMAND"))
		tier = STR("default");
	else if (str_eq_nocase(tier, STR("flex")))
		tier = STR("flex");
	else if (str_eq_nocase(tier, STR("priority")))
		tier = STR("priority");
	assembly_keep(s, &s->service_tier, tier);
}

static void take_usage(struct gemini_answer *g, const json_t *metadata)
{
	if (!json_is_object(metadata))
		return;
	g->assembly.usage_known = gemini_read_usage(&g->assembly.usage, metadata);
	keep_tier(&g->assembly, metadata);
}

void gemini_answer_count(struct gemini_answer *g, const json_t *chunk)
{
	take_usage(g, json_get(chunk, "usageMetadata"));
}

/* --- parts --- */

/* Unlike others, Gemini need not give a call an id; the answer to it names one, so it gets one that no other answer's calls have. */
static struct str id_of(const struct gemini_answer *g, const json_t *call)
{
	struct str id = json_str(call, "id");
	const struct assembly *s = &g->assembly;
	if (id.n > 0 && id.n <= ID_MAX)
		return id;
	if (s->id.n > 0 && s->id.n <= ID_MAX)
		return arena_printf(s->arena, "call_" STR_FMT "_%lld", STR_ARG(s->id), (long long)g->tools);
	return arena_printf(s->arena, "call_%lld", (long long)g->tools);
}

static int take_call(struct gemini_answer *g, const json_t *part)
{
	struct assembly *s = &g->assembly;
	const json_t *call = json_get(part, "functionCall"), *args = json_get(call, "args");
	struct str signature = json_str(part, "thoughtSignature");
	struct buf text;
	buf_init(&text, s->max_bytes);
	int rc = json_is_object(args) ? json_write(&text, args) : buf_add_z(&text, "{}");
	if (rc == 0)
		rc = assembly_tool(s, g->tools, id_of(g, call), json_str(call, "name"), buf_str(&text));
	buf_done(&text);
	g->signatures += signature.n;
	if (rc == 0 && g->signatures > s->max_bytes)
		rc = -ERR_TOO_LARGE;
	if (rc == 0 && signature.n > 0)
		s->tools[g->tools].signature = arena_str(s->arena, signature);
	g->tools++;
	return rc;
}

static int take_part(struct gemini_answer *g, const json_t *part)
{
	struct str text = json_str(part, "text");
	if (json_is_object(json_get(part, "functionCall")))
		return take_call(g, part);
	if (json_is_string(json_get(part, "text")))
		return text.n ? assembly_text(&g->assembly, json_is_true(json_get(part, "thought")) ? DELTA_REASONING : DELTA_TEXT, text) : 0;
	g->left_out += json_is_object(part) && !json_get(part, "thoughtSignature");
	return 0;
}

/* --- candidates --- */

/* "…_UNSPECIFIED" is the enums' way of saying nothing. */
static void keep_word(struct assembly *s, struct str *field, struct str word)
{
	if (!str_has_suffix(word, STR("_UNSPECIFIED")))
		assembly_keep(s, field, word);
}

static int take_candidate(struct gemini_answer *g, const json_t *candidate)
{
	const json_t *parts = json_get(json_get(candidate, "content"), "parts"), *part;
	size_t i;
	int rc = 0;
	g->has_candidate = true;
	json_array_foreach (parts, i, part)
		if (rc == 0)
			rc = take_part(g, part);
	keep_word(&g->assembly, &g->finish, json_str(candidate, "finishReason"));
	assembly_keep(&g->assembly, &g->finish_message, json_str(candidate, "finishMessage"));
	json_t *logprobs = json_get(candidate, "logprobsResult");
	if (json_is_object(logprobs) && !g->logprobs)
		g->logprobs = json_incref(logprobs);
	return rc;
}

static int take_response(struct gemini_answer *g, const json_t *chunk, int64_t index)
{
	struct assembly *s = &g->assembly;
	const json_t *candidate, *feedback = json_get(chunk, "promptFeedback");
	json_t *error = json_get(chunk, "error");
	size_t i;
	if (error && !json_is_null(error)) {
		g->error = json_deep_copy(chunk);
		return -ERR_STREAM_CUT;
	}
	assembly_keep(s, &s->id, json_str(chunk, "responseId"));
	assembly_keep(s, &s->model, json_str(chunk, "modelVersion"));
	take_usage(g, json_get(chunk, "usageMetadata"));
	keep_word(s, &g->blocked, json_str(feedback, "blockReason"));
	assembly_keep(s, &g->blocked_message, json_str(feedback, "blockReasonMessage"));
	/* The first candidate's index of 0 is often left out. */
	json_array_foreach (json_get(chunk, "candidates"), i, candidate)
		if (json_i64(candidate, "index", 0) == index)
			return take_candidate(g, candidate);
	return 0;
}

int gemini_answer_take(struct gemini_answer *g, const json_t *chunk, int64_t index)
{
	const json_t *one;
	size_t i;
	int rc = 0;
	if (json_is_object(chunk))
		return g->error ? 0 : take_response(g, chunk, index);
	json_array_foreach (chunk, i, one)
		if (rc == 0 && json_is_object(one))
			rc = take_response(g, one, index);
	return rc;
}

/* --- the verdict --- */

struct reason {
	const char *word;
	enum err_code class;
	const char *canonical; /* NULL: the word stays */
};

static const struct reason reasons[] = {
	{ "STOP", ERR_OK, "stop" },
	{ "MAX_TOKENS", ERR_OK, "length" },
	{ "SAFETY", ERR_CONTENT_FILTER, "content_filter" },
	{ "RECITATION", ERR_CONTENT_FILTER, "content_filter" },
	{ "BLOCKLIST", ERR_CONTENT_FILTER, "content_filter" },
	{ "PROHIBITED_CONTENT", ERR_CONTENT_FILTER, "content_filter" },
	{ "SPII", ERR_CONTENT_FILTER, "content_filter" },
	{ "MODEL_ARMOR", ERR_CONTENT_FILTER, "content_filter" },
	/* The same request would fail the same way: a call of the history has lost its signature. */
	{ "MISSING_THOUGHT_SIGNATURE", ERR_BAD_REQUEST, NULL },
};

/* IMAGE_SAFETY and the like are filters, the rest (MALFORMED_FUNCTION_CALL, OTHER, and what is new) is an answer that cannot be used. */
static struct reason reason_of(struct str word)
{
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (str_eq_z(word, reasons[i].word))
			return reasons[i];
	if (str_has_prefix(word, STR("IMAGE_")))
		return (struct reason){ NULL, ERR_CONTENT_FILTER, "content_filter" };
	return (struct reason){ NULL, ERR_BAD_OUTPUT, NULL };
}

static void say(struct gemini_answer *g, struct provider_result *r, enum err_code class, const char *what, struct str word, struct str more)
{
	struct str text = arena_printf(g->assembly.arena, "%s " STR_FMT "%s" STR_FMT, what, STR_ARG(word), more.n ? ": " : "", STR_ARG(more));
	r->class = class;
	r->message = str_utf8_prefix(text, 500);
}

static bool is_empty(const struct assembly *s)
{
	return s->content.n == 0 && s->refusal.n == 0 && !s->tools;
}

static void judge_finish(struct gemini_answer *g, int rc, struct provider_result *r)
{
	struct assembly *s = &g->assembly;
	struct reason reason = reason_of(g->finish);
	s->finish = reason.canonical ? str_from(reason.canonical) : g->finish;
	if (str_eq_z(s->finish, "stop") && s->tools)
		s->finish = STR("tool_calls");
	if (reason.class != ERR_OK)
		say(g, r, reason.class, reason.class == ERR_CONTENT_FILTER ? "the provider's filter stopped the answer:" : "the answer ended with", g->finish, g->finish_message);
	else if (rc == 0 && is_empty(s) && str_eq_z(s->finish, "stop"))
		say(g, r, ERR_BAD_OUTPUT, g->left_out ? "the answer holds nothing but data that has no place in a chat answer," : "the answer holds no content,", STR("finish reason STOP"),
		    STR(""));
}

void gemini_answer_conclude(struct gemini_answer *g, int rc, bool schema, bool whole, struct provider_result *r)
{
	struct assembly *s = &g->assembly;
	/* A count from before the text is none: with a cut stream the text is counted instead. */
	if (g->finish.n == 0 && s->usage.output == 0 && assembly_bytes(s) > 0)
		s->usage_known = false;
	if (r->class != ERR_OK) { /* an error object was classified */
	} else if (g->finish.n > 0) {
		s->done = rc == 0;
		judge_finish(g, rc, r);
	} else if (g->blocked.n > 0 && !g->has_candidate) {
		s->finish = STR("content_filter");
		say(g, r, ERR_CONTENT_FILTER, "the prompt was blocked:", g->blocked, g->blocked_message);
	} else if (whole && rc == 0) {
		say(g, r, ERR_BAD_OUTPUT, g->has_candidate ? "the answer holds no" : "the answer holds", g->has_candidate ? STR("finish reason") : STR("no candidates"), STR(""));
	}
	assembly_conclude(s, rc, schema, r);
}
