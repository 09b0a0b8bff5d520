/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One walk over a chat or embeddings request. Messages are walked part by part; tools and the schema are written out
 * once, for their size and (tools) for the hash of the static front. Nothing is refused here: what has the wrong type
 * counts as absent, since the request was checked at the door or is about to be.
 *
 * Sizes are what the request holds: text as it is, data URLs as they are after decoding. The front's hash must be the
 * same in every process, because requests with the same front are to meet at the same target; a clash of two fronts
 * does no harm.
 */
#include "common/request_facts.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define BITS         ((size_t)17)
#define WRITE_MAX    ((size_t)64 << 20)
#define LOOK_MAX     ((size_t)16384) /* bytes of the last user message in which words and fences are counted */
#define TOKEN_BYTES  4               /* a token of a token array counts as so much text */
#define AUDIO_BYTES  500             /* per token: 128 kbit/s at 32 tokens per second (Gemini: audio understanding) */
#define FRONT_SEED   UINT64_C(0x9e3779b97f4a7c15)
#define FRONT_FACTOR UINT64_C(0xff51afd7ed558ccd)

static const struct {
	const char *word, *name;
} needs[BITS] = {
	{ "chat", "chat" },
	{ "embeddings", "embeddings" },
	{ "images", "images" },
	{ "image_urls", "image URLs" },
	{ "pdf", "PDF files" },
	{ "text_files", "text files" },
	{ "other_files", "files other than PDF and text" },
	{ "file_ids", "files by id" },
	{ "audio", "audio" },
	{ "tools", "tools" },
	{ "json_object", "response_format json_object" },
	{ "json_schema", "response_format json_schema" },
	{ "choices", "several choices (n)" },
	{ "logprobs", "logprobs" },
	{ "logit_bias", "logit_bias" },
	{ "dimensions", "dimensions" },
	{ "tokens", "token arrays" },
};

static size_t bit_number(uint32_t bit)
{
	return bit ? (size_t)__builtin_ctz(bit) : BITS;
}

const char *request_need_name(uint32_t bit)
{
	size_t i = bit_number(bit);
	return i < BITS ? needs[i].name : NULL;
}

const char *request_need_word(uint32_t bit)
{
	size_t i = bit_number(bit);
	return i < BITS ? needs[i].word : NULL;
}

uint32_t request_need_parse(struct str word)
{
	for (size_t i = 0; i < BITS; i++)
		if (str_eq_z(word, needs[i].word))
			return UINT32_C(1) << i;
	return 0;
}

/* --- the walk --- */

struct walk {
	struct request_facts *f;
	struct arena *a;
	uint64_t front; /* hash so far */
	bool has_front, user_seen;
	bool file_seen;
	size_t message, part;    /* where it is */
	const json_t *last_user; /* message */
	size_t schema_bytes;
};

/* pointer NULL: the part where the walk is. It is made for the first of its kind only: there may be many parts. */
static void need(struct walk *w, uint32_t bit, const char *pointer)
{
	if (w->f->needs & bit)
		return;
	w->f->needs |= bit;
	w->f->pointers[bit_number(bit)] =
	    pointer ? pointer : arena_printf(w->a, "/messages/%zu/content/%zu", w->message, w->part).p;
}

/* Eight bytes at a time: a front may hold documents of megabytes. */
static void add_front(struct walk *w, char kind, struct str s)
{
	uint64_t h = w->front ^ ((uint64_t)(unsigned char)kind << 56) ^ s.n;
	for (size_t i = 0; i < s.n; i += 8) {
		uint64_t word = 0;
		memcpy(&word, s.p + i, s.n - i < 8 ? s.n - i : 8);
		h = (h ^ le64toh(word)) * FRONT_FACTOR;
		h ^= h >> 32;
	}
	h *= FRONT_FACTOR;
	w->front = h ^ (h >> 29);
	w->has_front = true;
}

/* Text length of a value as JSON; front: it belongs to the static front, too. */
static int64_t written(struct walk *w, const json_t *v, bool front)
{
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, WRITE_MAX);
	json_write_sorted(&b, v);
	if (front)
		add_front(w, 'j', buf_str(&b));
	return (int64_t)b.n;
}

/* --- files --- */

static size_t decoded_size(struct str base64)
{
	while (base64.n && base64.p[base64.n - 1] == '=')
		base64.n--;
	return base64.n / 4 * 3 + base64.n % 4 * 3 / 4;
}

bool request_data_url(struct str url, struct request_data *ret)
{
	*ret = (struct request_data){ .type = { "", 0 } };
	if (!str_has_prefix_nocase(url, STR("data:")))
		return false;
	ssize_t comma = str_find_char(url, ',');
	if (comma < 0)
		return false;
	struct str head = str_sub(url, 5, (size_t)comma - 5), type;
	ret->data = str_sub(url, (size_t)comma + 1, url.n);
	ret->base64 = head.n >= 7 && str_eq_nocase(str_sub(head, head.n - 7, 7), STR(";base64"));
	if (str_split(&head, ';', &type))
		ret->type = str_trim(type);
	ret->bytes = ret->base64 ? decoded_size(ret->data) : ret->data.n;
	return true;
}

static bool has_suffix_nocase(struct str s, struct str suffix)
{
	return s.n >= suffix.n && str_eq_nocase(str_sub(s, s.n - suffix.n, suffix.n), suffix);
}

uint32_t request_file_need(struct str type, struct str name)
{
	static const char *const text_types[] = { "application/json", "application/xml", "application/yaml",
		                                  "application/x-yaml", "application/x-ndjson", "application/csv",
		                                  "application/markdown" };
	static const char *const text_names[] = { ".txt", ".md", ".csv", ".html", ".json", ".xml", ".yaml", ".log" };
	bool unknown = type.n == 0 || str_eq_nocase(type, STR("application/octet-stream"));
	if (str_eq_nocase(type, STR("application/pdf")) || (unknown && has_suffix_nocase(name, STR(".pdf"))))
		return NEED_PDF;
	if (str_has_prefix_nocase(type, STR("text/")))
		return NEED_TEXT_FILES;
	for (size_t i = 0; i < ARRAY_LEN(text_types); i++)
		if (str_eq_nocase(type, str_from(text_types[i])))
			return NEED_TEXT_FILES;
	for (size_t i = 0; unknown && i < ARRAY_LEN(text_names); i++)
		if (has_suffix_nocase(name, str_from(text_names[i])))
			return NEED_TEXT_FILES;
	return NEED_OTHER_FILES;
}

static void look_at_file(struct walk *w, const json_t *part, bool front)
{
	const json_t *file = json_get(part, "file");
	struct str data = json_str(file, "file_data"), name = json_str(file, "filename"), id = json_str(file, "file_id");
	w->file_seen = true;
	if (front) {
		add_front(w, 'n', name);
		add_front(w, 'd', data.n ? data : id);
	}
	if (data.n == 0) {
		need(w, NEED_FILE_IDS, NULL);
		return;
	}
	struct request_data d;
	if (!request_data_url(data, &d)) /* base64 alone, as some clients send it */
		d = (struct request_data){ .type = { "", 0 }, .data = data, .base64 = true, .bytes = decoded_size(data) };
	uint32_t kind = request_file_need(d.type, name);
	need(w, kind, NULL);
	if (kind == NEED_TEXT_FILES)
		w->f->text_bytes += (int64_t)d.bytes;
	else
		w->f->file_bytes += (int64_t)d.bytes;
}

static void look_at_image(struct walk *w, const json_t *part)
{
	const json_t *image = json_get(part, "image_url");
	struct str url = json_is_string(image) ? json_str_of(image) : json_str(image, "url");
	w->f->images++;
	need(w, str_has_prefix_nocase(url, STR("data:")) ? NEED_IMAGES : NEED_IMAGE_URLS, NULL);
}

/* --- messages --- */

static bool is_system(struct str role)
{
	return str_eq_z(role, "system") || str_eq_z(role, "developer");
}

static void add_text(struct walk *w, struct str s, bool system)
{
	w->f->text_bytes += (int64_t)s.n;
	if (system)
		add_front(w, 's', s);
}

/* documents: whether this part may still be one of the leading documents. Returns whether the next may be. */
static bool look_at_part(struct walk *w, const json_t *part, bool system, bool documents)
{
	struct str type = json_str(part, "type");
	if (str_eq_z(type, "file")) {
		look_at_file(w, part, documents || system);
		return documents;
	}
	if (str_eq_z(type, "image_url")) {
		look_at_image(w, part);
	} else if (str_eq_z(type, "input_audio")) {
		need(w, NEED_AUDIO, NULL);
		w->f->audio_bytes += (int64_t)decoded_size(json_str(json_get(part, "input_audio"), "data"));
	} else {
		add_text(w, json_str(part, str_eq_z(type, "refusal") ? "refusal" : "text"), system);
	}
	return false;
}

static void look_at_calls(struct walk *w, const json_t *message, size_t at)
{
	const json_t *calls = json_get(message, "tool_calls");
	if (json_array_size(calls) && !(w->f->needs & NEED_TOOLS))
		need(w, NEED_TOOLS, arena_printf(w->a, "/messages/%zu/tool_calls", at).p);
	for (size_t i = 0; i < json_array_size(calls); i++) {
		const json_t *function = json_get(json_array_get(calls, i), "function");
		w->f->text_bytes += (int64_t)(json_str(function, "name").n + json_str(function, "arguments").n);
	}
}

static void look_at_message(struct walk *w, const json_t *message, size_t at)
{
	struct str role = json_str(message, "role");
	const json_t *content = json_get(message, "content");
	bool user = str_eq_z(role, "user"), system = is_system(role);
	bool documents = user && !w->user_seen;
	w->message = at;
	if (json_is_string(content))
		add_text(w, json_str_of(content), system);
	for (size_t i = 0; i < json_array_size(content); i++) {
		w->part = i;
		documents = look_at_part(w, json_array_get(content, i), system, documents);
	}
	add_text(w, json_str(message, "refusal"), false);
	add_text(w, json_str(message, "name"), false);
	look_at_calls(w, message, at);
	if (str_eq_z(role, "tool") && !(w->f->needs & NEED_TOOLS))
		need(w, NEED_TOOLS, arena_printf(w->a, "/messages/%zu", at).p);
	if (user) {
		w->user_seen = true;
		w->last_user = message;
	}
}

/* The text of a message; several parts are joined by line ends. */
static struct str message_text(const json_t *message, struct arena *a)
{
	const json_t *content = json_get(message, "content");
	if (json_is_string(content))
		return str_utf8_prefix(json_str_of(content), REQUEST_QUESTION_MAX);
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, (size_t)2 * REQUEST_QUESTION_MAX);
	for (size_t i = 0; i < json_array_size(content) && b.n < REQUEST_QUESTION_MAX; i++) {
		const json_t *part = json_array_get(content, i);
		if (!str_eq_z(json_str(part, "type"), "text"))
			continue;
		if (b.n)
			buf_add_char(&b, '\n');
		buf_add_str(&b, str_utf8_prefix(json_str(part, "text"), REQUEST_QUESTION_MAX - 1));
	}
	return arena_str(a, str_utf8_prefix(buf_str(&b), REQUEST_QUESTION_MAX));
}

/* --- the rest of a chat request --- */

static void look_at_tools(struct walk *w, const json_t *request)
{
	static const char *const names[] = { "tools", "functions" };
	for (size_t k = 0; k < ARRAY_LEN(names); k++) {
		const json_t *tools = json_get(request, names[k]);
		if (json_array_size(tools))
			need(w, NEED_TOOLS, arena_printf(w->a, "/%s", names[k]).p);
		for (size_t i = 0; i < json_array_size(tools); i++) {
			w->f->text_bytes += written(w, json_array_get(tools, i), true);
			w->f->tools++;
		}
	}
}

static void look_at_format(struct walk *w, const json_t *request)
{
	const json_t *format = json_get(request, "response_format");
	struct str type = json_str(format, "type");
	if (str_eq_z(type, "json_object"))
		need(w, NEED_JSON_OBJECT, "/response_format");
	if (!str_eq_z(type, "json_schema"))
		return;
	need(w, NEED_JSON_SCHEMA, "/response_format");
	w->schema_bytes = (size_t)written(w, format, false);
	w->f->text_bytes += (int64_t)w->schema_bytes;
}

static void look_at_options(struct walk *w, const json_t *request)
{
	if (json_i64(request, "n", 1) > 1)
		need(w, NEED_CHOICES, "/n");
	if (json_bool(request, "logprobs", false))
		need(w, NEED_LOGPROBS, "/logprobs");
	if (json_i64(request, "top_logprobs", 0) > 0)
		need(w, NEED_LOGPROBS, "/top_logprobs");
	if (json_object_size(json_get(request, "logit_bias")))
		need(w, NEED_LOGIT_BIAS, "/logit_bias");
	const json_t *modalities = json_get(request, "modalities");
	for (size_t i = 0; i < json_array_size(modalities); i++)
		if (str_eq_z(json_str_of(json_array_get(modalities, i)), "audio"))
			need(w, NEED_AUDIO, arena_printf(w->a, "/modalities/%zu", i).p);
	struct str effort = json_str(request, "reasoning_effort");
	w->f->reasoning = effort.n && !str_eq_z(effort, "none");
	int64_t max = json_i64(request, "max_completion_tokens", 0);
	if (max <= 0)
		max = json_i64(request, "max_tokens", 0);
	w->f->max_output = max > 0 ? max : 0;
}

/* --- complexity --- */

struct step {
	int64_t from; /* the feature's value */
	int points;
};

static int points_of(const struct step *steps, size_t n, int64_t value)
{
	int points = 0;
	for (size_t i = 0; i < n; i++)
		if (value >= steps[i].from)
			points = steps[i].points;
	return points;
}

static int compare_words(const void *key, const void *row)
{
	struct str word = *(const struct str *)key;
	const char *z = *(const char *const *)row;
	size_t n = strlen(z);
	int d = memcmp(word.p, z, word.n < n ? word.n : n);
	return d ? d : (word.n > n) - (word.n < n);
}

/* How many different words of reasoning the text has. */
static int64_t count_reasoning_words(struct str text)
{
	static const char *const words[] = { /* sorted */
		"algorithm", "analyse", "analyze", "calculate", "compare", "contrast", "critique", "debug", "deduce", "derive",
		"design", "diagnose", "evaluate", "explain", "infer", "justify", "optimise", "optimize", "plan", "prove",
		"rationale", "reason", "reasoning", "refactor", "solve", "step", "strategy", "tradeoff", "why",
	};
	bool seen[ARRAY_LEN(words)] = { false };
	uint32_t lengths[26] = { 0 }; /* by first letter, a bit for each: most words are none of these at a glance */
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		lengths[words[i][0] - 'a'] |= UINT32_C(1) << strlen(words[i]);
	char lower[16];
	size_t n = 0;
	int64_t count = 0;
	for (size_t i = 0; i <= text.n; i++) {
		char c = i < text.n ? text.p[i] : ' ';
		char low = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
		if (low >= 'a' && low <= 'z') {
			if (n < sizeof(lower))
				lower[n] = low;
			n++;
			continue;
		}
		const struct str word = { lower, n };
		const char *const *row = NULL;
		if (n && n <= sizeof(lower) && lengths[lower[0] - 'a'] >> n & 1)
			row = bsearch(&word, words, ARRAY_LEN(words), sizeof(words[0]), compare_words);
		if (row && !seen[row - words]) {
			seen[row - words] = true;
			count++;
		}
		n = 0;
	}
	return count;
}

static int64_t count_fences(struct str text)
{
	int64_t n = 0;
	for (ssize_t at; (at = str_find(text, STR("```"))) >= 0; n++)
		text = str_sub(text, (size_t)at + 3, text.n);
	return n;
}

static int64_t effort_of(const json_t *request)
{
	static const char *const words[] = { "none", "minimal", "low", "medium", "high", "xhigh" };
	struct str effort = json_str(request, "reasoning_effort");
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (str_eq_z(effort, words[i]))
			return (int64_t)i;
	return effort.n ? 3 : 0;
}

/* Each feature's points only grow with it, so that more of anything never makes a request look simpler. */
static void rate(struct walk *w, const json_t *request)
{
	static const struct step length[] = { { 800, 5 }, { 4000, 10 }, { 16000, 18 }, { 64000, 25 }, { 256000, 30 } };
	static const struct step messages[] = { { 4, 3 }, { 8, 6 }, { 16, 10 } };
	static const struct step tools[] = { { 1, 8 }, { 3, 12 }, { 8, 15 } };
	static const struct step schema[] = { { 1, 6 }, { 1000, 10 } };
	static const struct step pictures[] = { { 1, 6 }, { 4, 10 } };
	static const struct step files[] = { { 1, 8 }, { 1000000, 12 } };
	static const struct step fences[] = { { 1, 5 }, { 3, 10 } };
	static const struct step words[] = { { 1, 5 }, { 2, 9 }, { 3, 15 } };
	static const struct step effort[] = { { 1, 3 }, { 2, 5 }, { 3, 10 }, { 4, 15 } };
	struct request_facts *f = w->f;
	struct str text = str_sub(f->last_user, 0, LOOK_MAX);
	const struct {
		const char *name;
		const struct step *steps;
		size_t n;
		int64_t value;
	} features[] = {
		{ "long input", length, ARRAY_LEN(length), f->text_bytes },
		{ "conversation", messages, ARRAY_LEN(messages), f->messages },
		{ "tools", tools, ARRAY_LEN(tools), f->tools },
		{ "schema", schema, ARRAY_LEN(schema), (int64_t)w->schema_bytes },
		{ "images", pictures, ARRAY_LEN(pictures), f->images },
		{ "files", files, ARRAY_LEN(files), f->file_bytes + w->file_seen },
		{ "code", fences, ARRAY_LEN(fences), count_fences(text) },
		{ "reasoning words", words, ARRAY_LEN(words), count_reasoning_words(text) },
		{ "reasoning effort", effort, ARRAY_LEN(effort), effort_of(request) },
	};
	_cleanup_(buf_done) struct buf why;
	buf_init(&why, 512);
	int sum = 0;
	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		int points = points_of(features[i].steps, features[i].n, features[i].value);
		if (points)
			buf_printf(&why, "%s%s", why.n ? ", " : "", features[i].name);
		sum += points;
	}
	f->complexity = sum < 100 ? sum : 100;
	f->complexity_why = arena_str(w->a, buf_str(&why));
}

/* --- the whole --- */

static void read_chat(struct walk *w, const json_t *request)
{
	const json_t *messages = json_get(request, "messages");
	need(w, NEED_CHAT, "/messages");
	look_at_tools(w, request);
	for (size_t i = 0; i < json_array_size(messages); i++) {
		w->f->messages++;
		look_at_message(w, json_array_get(messages, i), i);
	}
	look_at_format(w, request);
	look_at_options(w, request);
	if (w->last_user)
		w->f->last_user = message_text(w->last_user, w->a);
	rate(w, request);
	if (w->has_front)
		w->f->prefix = w->front ? w->front : 1;
}

/* "text", ["text", …], [tokens], [[tokens], …] */
static void read_embeddings(struct walk *w, const json_t *request)
{
	const json_t *input = json_get(request, "input");
	need(w, NEED_EMBEDDINGS, "/input");
	if (json_get(request, "dimensions") && !json_is_null(json_get(request, "dimensions")))
		need(w, NEED_DIMENSIONS, "/dimensions");
	size_t n = json_array_size(input);
	bool flat = json_is_string(input) || json_is_number(json_array_get(input, 0));
	w->f->inputs = flat ? 1 : (int)n;
	w->f->text_bytes += (int64_t)json_str_of(input).n;
	for (size_t i = 0; i < n; i++) {
		const json_t *item = json_array_get(input, i);
		size_t tokens = json_is_number(item) ? 1 : json_array_size(item);
		if (tokens)
			need(w, NEED_TOKENS, "/input");
		w->f->text_bytes += (int64_t)(json_str_of(item).n + tokens * TOKEN_BYTES);
	}
}

void request_facts_read(struct request_facts *ret, const json_t *request, bool embeddings, struct arena *a)
{
	*ret = (struct request_facts){ .complexity_why = { "", 0 } };
	struct walk w = { .f = ret, .a = a, .front = FRONT_SEED };
	if (embeddings)
		read_embeddings(&w, request);
	else
		read_chat(&w, request);
}

static int64_t divide_up(int64_t a, int64_t b)
{
	return a / b + (a % b != 0);
}

int64_t request_facts_tokens(const struct request_facts *f, int64_t millibytes_per_token)
{
	int64_t tokens = divide_up(f->text_bytes * 1000, millibytes_per_token > 0 ? millibytes_per_token : 1);
	tokens += (int64_t)f->messages * REQUEST_MESSAGE_TOKENS + (int64_t)f->images * REQUEST_IMAGE_TOKENS;
	tokens += divide_up(f->file_bytes, REQUEST_PDF_PAGE_BYTES) * REQUEST_PDF_PAGE_TOKENS;
	tokens += divide_up(f->audio_bytes, AUDIO_BYTES);
	return divide_up(tokens * 11, 10);
}

/* --- marks of the prompt cache --- */

#define MARK "cache_control"

/* v, or a copy of it without its own mark. Owned by the caller. */
static json_t *without_mark(json_t *v)
{
	if (!json_get(v, MARK))
		return json_incref(v);
	json_t *copy = json_copy(v);
	json_object_del(copy, MARK);
	return copy;
}

/* The list named `name` of *at with each item as `make` has it; *at is copied when one changes. */
static void unmark_list(json_t **at, const char *name, json_t *(*make)(json_t *item))
{
	json_t *list = json_get(*at, name), *item;
	size_t i;
	if (json_array_size(list) == 0)
		return;
	_cleanup_(json_drop) json_t *plain = json_array();
	bool changed = false;
	json_array_foreach(list, i, item)
	{
		json_t *made = make(item);
		changed |= made != item;
		json_array_append_new(plain, made);
	}
	if (!changed)
		return;
	json_t *copy = json_copy(*at);
	json_object_set(copy, name, plain);
	json_decref(*at);
	*at = copy;
}

static json_t *unmarked_message(json_t *message)
{
	json_t *m = without_mark(message);
	unmark_list(&m, "content", without_mark);
	unmark_list(&m, "tool_calls", without_mark);
	return m;
}

json_t *request_unmarked(const json_t *request)
{
	json_t *r = without_mark((json_t *)(uintptr_t)request);
	unmark_list(&r, "messages", unmarked_message);
	unmark_list(&r, "tools", without_mark);
	return r;
}
