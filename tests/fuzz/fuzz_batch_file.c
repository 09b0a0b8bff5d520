/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of a batch's file: its first byte says in what pieces the rest comes. However it is cut, the same lines come out, and each is a job whose
 * values are in their ranges, or a fault with a code, a text and a place that can be written as JSON.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_batch_file.c build/debug/libmillrace.a -luv -ljansson -lcrypto -lpq -o fuzz_batch_file
 *   ./fuzz_batch_file tests/fuzz/corpus/batch_file
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/batches/batch_line.h"
#include "api/batches/batch_lines.h"

#define FUZZ_BATCH_FILE_NOW  INT64_C(1780272000000000)
#define FUZZ_BATCH_FILE_LINE 2000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_batch_file_check(bool ok)
{
	if (!ok)
		abort();
}

/* The same for all inputs. */
static struct conf *fuzz_batch_file_conf(void)
{
	static const char text[] = "{\"targets\":{\"t\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://127.0.0.1:1/v1\","
				   "\"max_output_tokens\":100,\"price\":{\"input\":\"1\",\"output\":\"2\"}}},\"routes\":{\"default\":{\"targets\":[\"t\"]}}}";
	static struct conf *conf;
	struct arena a;
	struct conf_mistake *mistakes;
	size_t n;
	if (conf)
		return conf;
	arena_init(&a, 1 << 20);
	FILE *file = tmpfile();
	fuzz_batch_file_check(file && fputs(text, file) >= 0 && fflush(file) == 0);
	fuzz_batch_file_check(conf_load(arena_printf(&a, "/proc/self/fd/%d", fileno(file)).p, &a, &conf, &mistakes, &n) == 0);
	fclose(file);
	arena_done(&a);
	return conf;
}

static void fuzz_batch_file_job(const struct batch_line *line)
{
	const struct submission *s = &line->s;
	fuzz_batch_file_check(s->priority >= 0 && s->priority <= 9 && s->max_attempts >= 1 && s->max_attempts <= 20);
	fuzz_batch_file_check(s->custom_id.n > 0 && str_find_char(s->custom_id, '\0') < 0 && str_is_utf8(s->body));
	fuzz_batch_file_check(s->expires_at_us > FUZZ_BATCH_FILE_NOW && s->run_at_us < s->expires_at_us);
	fuzz_batch_file_check(line->cost.input_tokens >= 0 && line->cost.call_nanousd >= 0 && line->cost.estimate_nanousd >= 0);
	_cleanup_(json_drop) json_t *stored = json_parse(s->body, NULL);
	fuzz_batch_file_check(json_is_object(json_get(stored, "request")));
}

static void fuzz_batch_file_line(enum face_form form, const char *endpoint, struct str text)
{
	struct netguard guard;
	struct arena a;
	struct batch_line line;
	struct batch_fault fault;
	netguard_init(&guard);
	const struct batch_line_rules rules = {
		{ fuzz_batch_file_conf(), &guard, FUZZ_BATCH_FILE_NOW }, face_of(form), str_from(endpoint), 4, FUZZ_BATCH_FILE_NOW + 1000000, true
	};
	arena_init(&a, (size_t)64 << 20);
	int rc = batch_line_open(&a, &rules, text, &line, &fault);
	if (rc == 0)
		rc = batch_line_judge(&a, &rules, &line, &fault);
	fuzz_batch_file_check((rc < 0) == (fault.code != NULL));
	if (rc == 0) {
		fuzz_batch_file_job(&line);
	} else {
		struct buf b;
		buf_init(&b, 1 << 16);
		batch_fault_write(&b, &fault, 1);
		_cleanup_(json_drop) json_t *told = json_parse(buf_str(&b), NULL);
		fuzz_batch_file_check(told && json_str(told, "message").n > 0);
		buf_done(&b);
	}
	batch_line_done(&line);
	arena_done(&a);
}

/* The lines in pieces of so many bytes, as numbers and lengths, into b; each is judged when that is asked for. */
static void fuzz_batch_file_lines(struct str in, size_t piece, bool judged, struct buf *b)
{
	struct batch_lines l;
	struct str text;
	bool is_long;
	batch_lines_init(&l, 0, FUZZ_BATCH_FILE_LINE);
	for (size_t at = 0; at <= in.n; at += piece) {
		char *copy = malloc(piece); /* so that what reads it after the next one has come is seen */
		fuzz_batch_file_check(copy != NULL);
		struct str part = str_sub(in, at, piece);
		if (part.n)
			memcpy(copy, part.p, part.n);
		batch_lines_feed(&l, (struct str){ copy, part.n });
		while (batch_lines_next(&l, at + piece > in.n, &text, &is_long)) {
			buf_printf(b, "%lld:%lld:%zu ", (long long)l.number, (long long)l.at, is_long ? SIZE_MAX : text.n);
			if (judged && !is_long) {
				fuzz_batch_file_line(FORM_CHAT, "/v1/chat/completions", text);
				fuzz_batch_file_line(FORM_EMBEDDINGS, "/v1/embeddings", text);
				fuzz_batch_file_line(FORM_COMPLETION, "/v1/completions", text);
				fuzz_batch_file_line(FORM_RESPONSE, "/v1/responses", text);
			}
		}
		free(copy);
	}
	fuzz_batch_file_check(l.at == (int64_t)in.n);
	batch_lines_done(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n == 0)
		return 0;
	const struct str in = { (const char *)data + 1, n - 1 };
	struct buf whole, cut;
	buf_init(&whole, (size_t)1 << 24);
	buf_init(&cut, (size_t)1 << 24);
	fuzz_batch_file_lines(in, in.n + 1, true, &whole);
	fuzz_batch_file_lines(in, (size_t)data[0] + 1, false, &cut);
	fuzz_batch_file_check(str_eq(buf_str(&whole), buf_str(&cut)));
	buf_done(&whole);
	buf_done(&cut);
	return 0;
}
