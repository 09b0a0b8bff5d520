/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of AWS's event stream. The first byte chooses the size of the pieces and (bit 0) whether the checksums are made right
 * first, so that what lies behind them is reached. However the bytes are cut the events and the verdict are the same, an event lies within what was
 * fed, and nothing comes after a failure.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_eventstream.c build/debug/libmillrace.a -lcrypto -o fuzz_eventstream
 *   ./fuzz_eventstream tests/fuzz/corpus/eventstream
 */
#include <stdlib.h>
#include <string.h>

#include "common/crypto.h"
#include "worker/providers/eventstream.h"

#define FUZZ_EVENTSTREAM_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_eventstream_check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_eventstream_put(char *p, uint32_t v)
{
	for (int i = 3; i >= 0; i--, v >>= 8)
		p[i] = (char)(v & 0xff);
}

/* Gives each frame the checksums that belong to it, as far as frames can be told. */
static void fuzz_eventstream_repair(char *p, size_t n)
{
	while (n >= 16) {
		size_t total = (size_t)(unsigned char)p[0] << 24 | (size_t)(unsigned char)p[1] << 16 | (size_t)(unsigned char)p[2] << 8 | (unsigned char)p[3];
		fuzz_eventstream_put(p + 8, crypto_crc32((struct str){ p, 8 }));
		if (total < 16 || total > n)
			return;
		fuzz_eventstream_put(p + total - 4, crypto_crc32((struct str){ p, total - 4 }));
		p += total;
		n -= total;
	}
}

static int fuzz_eventstream_on_event(void *arg, const struct eventstream_event *e)
{
	const struct str all[] = { e->message_type, e->event_type, e->exception_type, e->error_code, e->error_message, e->content_type, e->payload };
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		buf_add_be32(arg, (uint32_t)all[i].n);
		buf_add_str(arg, all[i]);
	}
	return str_eq_z(e->event_type, "stop") ? -1 : 0;
}

/* Each piece lies in memory of exactly its size. */
static void fuzz_eventstream_run(struct str in, size_t step, struct buf *note)
{
	struct eventstream s;
	int rc = 0;
	eventstream_init(&s, FUZZ_EVENTSTREAM_MAX / 2, fuzz_eventstream_on_event, note);
	for (; rc == 0 && in.n; in = str_sub(in, step, in.n)) {
		size_t n = MIN(step, in.n);
		char *piece = malloc(n);
		fuzz_eventstream_check(piece != NULL);
		memcpy(piece, in.p, n);
		rc = eventstream_feed(&s, (struct str){ piece, n });
		free(piece);
	}
	size_t before = note->n;
	fuzz_eventstream_check(rc == 0 || eventstream_feed(&s, in) == rc);
	fuzz_eventstream_check(note->n == before && (rc == 0 || !eventstream_is_whole(&s)));
	buf_printf(note, " %d %d", rc, eventstream_is_whole(&s));
	eventstream_done(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf bytes, whole, pieces;
	if (n == 0 || n > FUZZ_EVENTSTREAM_MAX)
		return 0;
	buf_init(&bytes, FUZZ_EVENTSTREAM_MAX);
	buf_init(&whole, SIZE_MAX / 8);
	buf_init(&pieces, SIZE_MAX / 8);
	buf_add(&bytes, data + 1, n - 1);
	if (data[0] & 1)
		fuzz_eventstream_repair(bytes.p, bytes.n);
	fuzz_eventstream_run(buf_str(&bytes), SIZE_MAX, &whole);
	fuzz_eventstream_run(buf_str(&bytes), (size_t)(data[0] >> 1) + 1, &pieces);
	fuzz_eventstream_check(str_eq(buf_str(&whole), buf_str(&pieces)));
	buf_done(&bytes);
	buf_done(&whole);
	buf_done(&pieces);
	return 0;
}
