/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of the SSE parser: however the bytes are cut into reads, the events and the result must be the same, and what
 * sse_write makes of an event must read back as that event.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_sse.c common/http/sse.c common/buf.c common/str.c -o fuzz_sse
 *   ./fuzz_sse tests/fuzz/corpus/sse
 */
#include <stdlib.h>
#include <string.h>

#include "common/http/sse.h"

#define FUZZ_SSE_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_sse_check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_sse_note(struct buf *log, struct str s)
{
	buf_add_be32(log, (uint32_t)s.n);
	buf_add_str(log, s);
}

static int fuzz_sse_on_event(void *arg, const struct sse_event *e)
{
	fuzz_sse_note(arg, e->event);
	fuzz_sse_note(arg, e->data);
	fuzz_sse_note(arg, e->id);
	return 0;
}

/* Feeds pieces of at most `step` bytes (0: all at once, from memory of exactly that size) and logs the events. */
static int fuzz_sse_feed(struct str in, size_t step, struct buf *log)
{
	struct sse s;
	int rc = 0;
	sse_init(&s, FUZZ_SSE_MAX, fuzz_sse_on_event, log);
	while (rc == 0 && in.n) {
		size_t n = step ? MIN(step, in.n) : in.n;
		char *piece = malloc(n);
		fuzz_sse_check(piece != NULL);
		memcpy(piece, in.p, n);
		rc = sse_feed(&s, (struct str){ piece, n });
		free(piece);
		in = str_sub(in, n, in.n);
	}
	sse_done(&s);
	return rc;
}

static int fuzz_sse_on_event_again(void *arg, const struct sse_event *e)
{
	struct buf text, first, second;
	(void)arg;
	buf_init(&text, SIZE_MAX / 8);
	buf_init(&first, SIZE_MAX / 8);
	buf_init(&second, SIZE_MAX / 8);
	fuzz_sse_on_event(&first, e);
	sse_write(&text, e->event, e->id, e->data);
	fuzz_sse_check(fuzz_sse_feed(buf_str(&text), 0, &second) < 0 || str_eq(buf_str(&first), buf_str(&second)));
	buf_done(&text);
	buf_done(&first);
	buf_done(&second);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const size_t steps[] = { 1, 2, 3, 7, 64 };
	struct str in = { (const char *)data, n };
	struct buf whole, pieces;
	buf_init(&whole, SIZE_MAX / 8);
	buf_init(&pieces, SIZE_MAX / 8);
	int rc = fuzz_sse_feed(in, 0, &whole);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		buf_clear(&pieces);
		fuzz_sse_check(fuzz_sse_feed(in, steps[i], &pieces) == rc);
		fuzz_sse_check(str_eq(buf_str(&whole), buf_str(&pieces)));
	}
	struct sse s;
	sse_init(&s, FUZZ_SSE_MAX, fuzz_sse_on_event_again, NULL);
	sse_feed(&s, in);
	sse_done(&s);
	buf_done(&whole);
	buf_done(&pieces);
	return 0;
}
