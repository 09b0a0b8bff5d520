/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The description of the whole API by OpenAPI 3.1. Its parts are the files of api/openapi/, which the build puts into the program: each has `paths` and
 * `components` of its own, and _main.json has the rest. They are joined at the first request and kept, as text, for as long as the process lives. That
 * they describe every route of router.c and nothing else, and that answers are as they say, is tested (tests/e2e/test_openapi.py, tests/lib/answers.py).
 *
 * Nothing can go wrong but the parts themselves, which a unit test joins.
 */
#include "api/openapi.h"

#include <string.h>

#include "api/request.h"
#include "common/crypto.h"
#include "common/json.h"
#include "openapi_parts.h"

#define TEXT_MAX ((size_t)4 << 20)

int openapi_write(struct buf *b)
{
	_cleanup_(json_drop) json_t *whole = json_object();
	for (const struct embedded_text *part = openapi_parts; part->name; part++) {
		_cleanup_(json_drop) json_t *v = json_parse(str_from(part->text), NULL);
		int rc = json_object_update_recursive(whole, v);
		assert(rc == 0); /* they are the program's own, and tested */
	}
	json_t *info = json_get(whole, "info");
	json_set_str(info, "version", STR(MR_VERSION));
	return json_write(b, whole);
}

static enum flow_next describe_start(struct flow *f)
{
	static struct buf text;
	static char etag[64];
	struct request *q = request_of(f);
	if (!text.n) {
		uint8_t hash[SHA256_LEN];
		struct buf tag;
		buf_init(&text, TEXT_MAX);
		if (openapi_write(&text) < 0)
			return request_fail(q, ERR_INTERNAL, "the description is too long");
		crypto_sha256(buf_str(&text), hash);
		buf_init(&tag, sizeof(etag) - 1);
		buf_add_char(&tag, '"');
		crypto_hex(&tag, (struct str){ (const char *)hash, 16 });
		buf_add_char(&tag, '"');
		memcpy(etag, tag.p, tag.n);
		buf_done(&tag);
	}
	if (request_is_cached(q, str_from(etag)))
		return request_answer(q, 304);
	buf_add_str(&q->out, buf_str(&text));
	return request_answer(q, 200);
}

const struct flow_step openapi_steps[] = {
	{ "describe", describe_start, NULL },
	{ .name = NULL },
};
