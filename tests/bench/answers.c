/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answers: how fast each adapter reads a streamed answer.
 *
 *   answers MILLISECONDS [ADAPTER]
 *
 * For each adapter a stream of about 64 KB is made in the form in which its provider sends one: the head, then one event for every word or two, and the end
 * with its usage. It goes through start, answer_head, answer_data in reads of 16 KB, and answer_end, with an arena of its own each time, over and over
 * for so long. Prints one JSON line: by adapter, the bytes of the stream and MB (10⁶ bytes) per second of processor time. An answer that is no success, or
 * lacks text, ends the program: what is measured is the reading of good answers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/conf.h"
#include "common/provider_record.h"
#include "worker/providers/eventstream.h"
#include "worker/providers/provider.h"

#define STREAM_BYTES 65536
#define READ_BYTES   16384
#define TEXT_MAX     ((size_t)1 << 20)
#define ROUND        16 /* answers between two looks at the clock */

/* Made by hand from what the providers send; TEXT stands for a piece of the answer. */
struct form {
	const char *adapter, *model, *type;
	const char *head;
	const char *before, *after; /* around a piece */
	const char *tail;
	bool framed;                /* Bedrock: event stream frames, one line "name payload" each */
};

#define CHUNK(members) "data: {\"id\":\"chatcmpl-CzQXhfwjUGWGvw0nXvN9V3bKpJk2T\",\"object\":\"chat.completion.chunk\",\"created\":1768900000," \
	"\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_29330a9688\"," members "}\n\n"
#define CHOICE(delta, finish) "\"choices\":[{\"index\":0,\"delta\":" delta ",\"logprobs\":null,\"finish_reason\":" finish "}],\"usage\":null"
#define GEMINI_META "\"usageMetadata\":{\"promptTokenCount\":412,\"candidatesTokenCount\":96,\"totalTokenCount\":508," \
	"\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":412}]},\"modelVersion\":\"gemini-2.5-flash\",\"responseId\":\"kX1vaeTqB5qSkdUPz9mNyAk\"}\r\n\r\n"

static const struct form forms[] = {
	{ "openai", "gpt-4o-mini", "text/event-stream; charset=utf-8",
	  CHUNK(CHOICE("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}", "null")),
	  "data: {\"id\":\"chatcmpl-CzQXhfwjUGWGvw0nXvN9V3bKpJk2T\",\"object\":\"chat.completion.chunk\",\"created\":1768900000,"
	  "\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_29330a9688\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
	  "\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n",
	  CHUNK(CHOICE("{}", "\"stop\""))
	  CHUNK("\"choices\":[],\"usage\":{\"prompt_tokens\":412,\"completion_tokens\":205,\"total_tokens\":617,\"prompt_tokens_details\":{\"cached_tokens\":0,"
	        "\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0}}")
	  "data: [DONE]\n\n", false },
	{ "anthropic", "claude-sonnet-4-5", "text/event-stream; charset=utf-8",
	  "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-sonnet-4-5-20250929\",\"id\":\"msg_01PqV8cRk2yXwS5tHnJmLbD7\","
	  "\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":412,"
	  "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":1,\"service_tier\":\"standard\"}}}\n\n"
	  "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
	  "event: ping\ndata: {\"type\": \"ping\"}\n\n",
	  "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"", "\"}}\n\n",
	  "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
	  "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":205}}\n\n"
	  "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", false },
	{ "gemini", "gemini-2.5-flash", "text/event-stream", "", "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"",
	  "\"}],\"role\": \"model\"},\"index\": 0}]," GEMINI_META,
	  "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \".\"}],\"role\": \"model\"},\"finishReason\": \"STOP\",\"index\": 0}]," GEMINI_META, false },
	{ "bedrock", "anthropic.claude-sonnet-4-5", "application/vnd.amazon.eventstream", "messageStart {\"p\":\"abcdefghijkl\",\"role\":\"assistant\"}\n",
	  "contentBlockDelta {\"contentBlockIndex\":0,\"delta\":{\"text\":\"", "\"},\"p\":\"abcdefghijklmnopqrstuvwxyzABCDEFG\"}\n",
	  "contentBlockStop {\"contentBlockIndex\":0,\"p\":\"abcdefghijkl\"}\n"
	  "messageStop {\"p\":\"abcdefghijklmnop\",\"stopReason\":\"end_turn\"}\n"
	  "metadata {\"metrics\":{\"latencyMs\":2312},\"p\":\"abcdef\",\"usage\":{\"inputTokens\":412,\"outputTokens\":205,\"totalTokens\":617}}\n", true },
};

static const char *const words[] = { "The", " licence", " lets", " you", " use", ",", " study", ",", " share", " and", " improve", " the work", ".\\n\\n", "\\\"Contributor", "\\\"" };

static void die(const char *adapter, const char *what)
{
	fprintf(stderr, "answers: %s: %s\n", adapter, what);
	exit(1);
}

/* Each line "name payload" as a frame. */
static void add_frames(struct buf *b, struct str lines)
{
	struct str line, name;
	while (lines.n > 0 && str_split(&lines, '\n', &line)) {
		str_split(&line, ' ', &name);
		if (eventstream_write(b, STR("event"), name, line) < 0)
			die("bedrock", "a frame that is too large");
	}
}

static void add(const struct form *f, struct buf *b, const char *text)
{
	if (f->framed)
		add_frames(b, str_from(text));
	else
		buf_add_z(b, text);
}

static void make_stream(const struct form *f, struct buf *b)
{
	struct buf piece;
	buf_init(&piece, 4096);
	add(f, b, f->head);
	for (size_t i = 0; b->n + strlen(f->tail) < STREAM_BYTES; i++) {
		buf_clear(&piece);
		buf_printf(&piece, "%s%s%s", f->before, words[i % ARRAY_LEN(words)], f->after);
		buf_add_char(&piece, '\0');
		add(f, b, piece.p);
	}
	add(f, b, f->tail);
	if (buf_failed(b) || buf_failed(&piece))
		die(f->adapter, "the stream cannot be made");
	buf_done(&piece);
}

static void read_answer(const struct provider *p, const struct provider_ask *ask, const struct form *f, struct str in)
{
	const struct http_header head[] = { { STR("content-type"), str_from(f->type) }, { STR("date"), STR("Tue, 20 Jan 2026 09:00:00 GMT") },
		                            { STR("x-request-id"), STR("req_8c2f4a6e1b") } };
	struct provider_result r;
	struct arena a;
	bool token = false;
	int rc = 0;
	arena_init(&a, (size_t)16 << 20);
	struct provider_call *c = p->start(ask, /* streamed= */ true, TEXT_MAX, (struct provider_sink){ NULL, NULL }, &a);
	p->answer_head(c, 200, head, ARRAY_LEN(head));
	for (; rc == 0 && in.n > 0; in = str_sub(in, READ_BYTES, in.n))
		rc = p->answer_data(c, str_sub(in, 0, READ_BYTES), &token);
	p->answer_end(c, rc, 1768900000000000, &r);
	if (r.class != ERR_OK || !token || !r.usage_known || r.output_bytes < 500)
		die(f->adapter, "the answer is not understood");
	buf_done(&r.result);
	arena_done(&a);
}

static double cpu_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void measure(const struct form *f, double seconds, bool first)
{
	const struct provider *p = provider_find(str_from(f->adapter));
	struct conf_target target = { .name = STR("t"), .provider = str_from(f->adapter), .record = provider_record_find(str_from(f->adapter)),
		                      .model = str_from(f->model), .base_url = STR("http://h"), .stream = true };
	json_t *request = json_parse(STR("{\"messages\":[{\"role\":\"user\",\"content\":\"What does the licence allow?\"}]}"), NULL);
	const struct provider_ask ask = { .target = &target, .kind = PROVIDER_CHAT, .request = request };
	struct buf stream;
	size_t n = 0;
	if (!p || !target.record)
		die(f->adapter, "no such adapter");
	buf_init(&stream, 2 * STREAM_BYTES);
	make_stream(f, &stream);
	read_answer(p, &ask, f, buf_str(&stream));
	double start = cpu_s(), took;
	do {
		for (int i = 0; i < ROUND; i++)
			read_answer(p, &ask, f, buf_str(&stream));
		n += ROUND;
		took = cpu_s() - start;
	} while (took < seconds);
	printf("%s\"%s\":{\"bytes\":%zu,\"mb_per_s\":%.1f}", first ? "" : ",", f->adapter, stream.n, (double)stream.n * (double)n / took / 1e6);
	json_decref(request);
	buf_done(&stream);
}

int main(int argc, char **argv)
{
	uint64_t ms;
	if (argc < 2 || str_u64(str_from(argv[1]), 1, 600000, &ms) < 0) {
		fprintf(stderr, "usage: answers MILLISECONDS [ADAPTER]\n");
		return 2;
	}
	bool first = true;
	printf("{");
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		if (argc > 2 && strcmp(argv[2], forms[i].adapter) != 0)
			continue;
		measure(&forms[i], (double)ms / 1e3, first);
		first = false;
	}
	printf("}\n");
	return 0;
}
