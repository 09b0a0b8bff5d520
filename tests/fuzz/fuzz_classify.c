/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of what failures mean and when to come back: bodies and headers as a provider, or who stands in its place, may send them. The first
 * two bytes are the status (modulo 600), then come lines "name: value" up to an empty line, then the body.
 *
 * Whatever is sent: the class is one of those of a provider, never success; it does not depend on a list of one around the body; hints are -1 or
 * at most a year; a limit is -1 or more than 0, the rest -1 or more, and a header that is no rate limit's does not make limits known.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_classify.c build/debug/libmillrace.a -luv -ljansson -lcrypto -o fuzz_classify
 *   ./fuzz_classify tests/fuzz/corpus/classify
 */
#include <stdlib.h>

#include "worker/providers/classify.h"
#include "worker/providers/hints.h"

#define FUZZ_CLASSIFY_MAX     65536
#define FUZZ_CLASSIFY_HEADERS 32
#define FUZZ_CLASSIFY_YEAR_MS ((int64_t)365 * 24 * 3600 * 1000)
#define FUZZ_CLASSIFY_NOW_US  INT64_C(1767225600000000) /* 2026-01-01 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_classify_check(bool ok)
{
	if (!ok)
		abort();
}

static bool fuzz_classify_is_hint(int64_t ms)
{
	return ms >= -1 && ms <= FUZZ_CLASSIFY_YEAR_MS;
}

static size_t fuzz_classify_head(struct str *in, struct http_header h[FUZZ_CLASSIFY_HEADERS])
{
	struct str line;
	size_t n = 0;
	while (str_split(in, '\n', &line) && line.n) {
		ssize_t colon = str_find_char(line, ':');
		if (colon >= 0 && n < FUZZ_CLASSIFY_HEADERS)
			h[n++] = (struct http_header){ str_sub(line, 0, (size_t)colon), str_trim(str_sub(line, (size_t)colon + 1, line.n)) };
	}
	return n;
}

static void fuzz_classify_limits(const struct http_header *h, size_t n)
{
	struct limit_headers l;
	bool may = false;
	for (size_t i = 0; i < n; i++)
		may = may || str_find_nocase(h[i].name, STR("rate")) >= 0;
	if (!limit_headers_read(&l, h, n, FUZZ_CLASSIFY_NOW_US))
		return;
	fuzz_classify_check(may);
	const int64_t kinds[][3] = {
		{ l.requests_limit, l.requests_remaining, l.requests_reset_ms }, { l.tokens_limit, l.tokens_remaining, l.tokens_reset_ms },
		{ l.input_limit, l.input_remaining, l.input_reset_ms },          { l.output_limit, l.output_remaining, l.output_reset_ms },
	};
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		fuzz_classify_check((kinds[i][0] == -1 || kinds[i][0] > 0) && kinds[i][1] >= -1 && fuzz_classify_is_hint(kinds[i][2]));
}

static enum err_code fuzz_classify_class(int status, const json_t *body)
{
	struct failure f = { .status = status };
	struct arena a;
	arena_init(&a, 1 << 20);
	if (body)
		failure_read(&f, body, &a);
	enum err_code class = classify(&f);
	arena_done(&a);
	fuzz_classify_check(class >= ERR_NETWORK && class < ERR_COUNT);
	return class;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct http_header h[FUZZ_CLASSIFY_HEADERS];
	if (n < 2 || n > FUZZ_CLASSIFY_MAX)
		return 0;
	int status = (data[0] << 8 | data[1]) % 600;
	struct str in = { (const char *)data + 2, n - 2 };
	size_t headers = fuzz_classify_head(&in, h);
	fuzz_classify_check(fuzz_classify_is_hint(retry_hint_ms(h, headers, FUZZ_CLASSIFY_NOW_US)));
	fuzz_classify_limits(h, headers);
	json_t *body = in.p ? json_parse_lenient(in, NULL) : NULL;
	enum err_code class = fuzz_classify_class(status, body);
	int64_t hint = retry_hint_body_ms(body);
	fuzz_classify_check(fuzz_classify_is_hint(hint));
	if (json_is_object(body)) {
		json_t *list = json_pack("[O]", body);
		fuzz_classify_check(fuzz_classify_class(status, list) == class && retry_hint_body_ms(list) == hint);
		json_decref(list);
	}
	json_decref(body);
	return 0;
}
