/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What headers and query say about how to answer: waiting (RFC 7240), pages, the Idempotency-Key, ETag and
 * If-None-Match, CORS. Pure reading; a mistake of the client is an error that names the header or parameter.
 */
#include "api/request.h"

#include <string.h>

#include "api/request_private.h"
#include "common/conf.h"
#include "common/crypto.h"

/* What of RFC 7240 is understood here. What cannot be read is ignored, as it wants. */
struct preferences {
	int64_t wait_s; /* -1: not given */
	bool respond_async;
};

static void read_preference(struct str part, struct preferences *p)
{
	uint64_t n;
	ssize_t semicolon = str_find_char(part, ';');
	part = str_trim(str_sub(part, 0, semicolon < 0 ? part.n : (size_t)semicolon));
	if (str_eq_nocase(part, STR("respond-async")))
		p->respond_async = true;
	if (p->wait_s >= 0 || !str_has_prefix_nocase(part, STR("wait")))
		return;
	struct str rest = str_trim(str_sub(part, 4, part.n));
	if (!str_has_prefix(rest, STR("=")))
		return;
	rest = str_trim(str_sub(rest, 1, rest.n));
	if (rest.n >= 2 && rest.p[0] == '"' && rest.p[rest.n - 1] == '"')
		rest = str_sub(rest, 1, rest.n - 2);
	if (str_u64(rest, 0, 1000000000, &n) == 0)
		p->wait_s = (int64_t)n;
}

static struct preferences preferences_of(const struct http_req *h)
{
	struct preferences p = { .wait_s = -1 };
	for (size_t i = 0; i < h->nheaders; i++) {
		struct str all = h->headers[i].value, part;
		while (str_eq_nocase(h->headers[i].name, STR("prefer")) && str_split(&all, ',', &part))
			read_preference(str_trim(part), &p);
	}
	return p;
}

int64_t request_wait_ms(struct request *q)
{
	int64_t most_s = conf_now()->limits_wait_ms / 1000;
	struct preferences p = preferences_of(q->http);
	/* An answer without waiting is what a submission gets anyway. */
	bool says_async = p.respond_async && q->http->method == HTTP_POST;
	struct str given;
	http_reply_header(q->http, "Vary", STR("Prefer"));
	if (http_req_query(q->http, "wait", &given)) {
		uint64_t n;
		if (str_u64(given, 0, 1000000000, &n) < 0)
			return err_set_at(&q->err, ERR_INVALID, "wait", "wait is a number of seconds");
		return MIN((int64_t)n, most_s) * 1000;
	}
	int64_t wait_s = MIN(p.wait_s, most_s);
	if (wait_s >= 0)
		http_reply_header(q->http, "Preference-Applied",
		                  arena_printf(&q->http->arena, "%swait=%lld", says_async ? "respond-async, " : "",
		                               (long long)wait_s));
	else if (says_async)
		http_reply_header(q->http, "Preference-Applied", STR("respond-async"));
	return wait_s > 0 ? wait_s * 1000 : 0;
}

int request_page(struct request *q, const char *prefix, struct page *ret)
{
	return request_page_of(q, prefix, 100, 20, ret);
}

int request_page_of(struct request *q, const char *prefix, int most, int preset, struct page *ret)
{
	struct str s;
	uint64_t limit = (uint64_t)preset;
	*ret = (struct page){ .descending = true };
	if (http_req_query(q->http, "limit", &s) && str_u64(s, 1, (uint64_t)most, &limit) < 0)
		return err_set_at(&q->err, ERR_INVALID, "limit", "limit is a number from 1 to %d", most);
	ret->limit = (int)limit;
	if (prefix && http_req_query(q->http, "after", &s) && id_parse(s, prefix, &ret->after) < 0)
		return err_set_at(&q->err, ERR_INVALID, "after",
		                  "after is the id of the last object of the page before");
	if (http_req_query(q->http, "order", &s)) {
		ret->descending = str_eq(s, STR("desc"));
		if (!ret->descending && !str_eq(s, STR("asc")))
			return err_set_at(&q->err, ERR_INVALID, "order", "order is asc or desc");
	}
	return 0;
}

/* A structured-field string: the text between the quotes with \" and \\ undone, into a. */
static int unquote(struct arena *a, struct str s, struct str *ret)
{
	char *out = arena_alloc(a, s.n);
	size_t n = 0;
	for (size_t i = 1; i + 1 < s.n; i++) {
		if (s.p[i] == '"')
			return -ERR_INVALID;
		if (s.p[i] == '\\' && (++i + 1 >= s.n || (s.p[i] != '"' && s.p[i] != '\\')))
			return -ERR_INVALID;
		out[n++] = s.p[i];
	}
	*ret = (struct str){ out, n };
	return 0;
}

int request_key(struct request *q, struct str *ret)
{
	static const char wanted[] = "the Idempotency-Key is 1 to 255 printable ASCII characters, bare or quoted";
	*ret = (struct str){ 0 };
	struct str s = http_req_header(q->http, "idempotency-key");
	if (!s.p && conf_now()->idempotency_required)
		return err_set(&q->err, ERR_KEY_MISSING,
		               "send a header Idempotency-Key that is new for each submission");
	if (!s.p)
		return 0;
	if (http_count(q->http->headers, q->http->nheaders, "idempotency-key") > 1)
		return err_set_at(&q->err, ERR_INVALID, "Idempotency-Key", "there are several Idempotency-Key headers");
	s = str_trim(s);
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] > '~')
			return err_set_at(&q->err, ERR_INVALID, "Idempotency-Key", "%s", wanted);
	if (s.n > 0 && s.p[0] == '"') {
		if (s.n < 2 || s.p[s.n - 1] != '"' || unquote(&q->http->arena, s, &s) < 0)
			return err_set_at(&q->err, ERR_INVALID, "Idempotency-Key", "%s", wanted);
	}
	if (s.n < 1 || s.n > 255)
		return err_set_at(&q->err, ERR_INVALID, "Idempotency-Key", "%s", wanted);
	*ret = s;
	return 0;
}

void request_fingerprint(const struct request *q, struct str body, uint8_t out[32])
{
	static const char nul[1] = { 0 };
	const struct str separator = { nul, 1 };
	const struct str parts[] = { q->http->method_text, separator, q->http->path, separator, body };
	crypto_sha256_parts(parts, ARRAY_LEN(parts), out);
}

bool request_is_cached(struct request *q, struct str etag)
{
	http_reply_header(q->http, "ETag", etag);
	struct str has = http_req_header(q->http, "if-none-match");
	if (!has.p)
		return false;
	if (str_eq(str_trim(has), STR("*")))
		return true;
	struct str opaque = str_has_prefix(etag, STR("W/")) ? str_sub(etag, 2, etag.n) : etag;
	return str_find(has, opaque) >= 0;
}

static bool is_allowed_origin(struct str origin)
{
	struct str all = str_from(conf_now()->server_cors_origins), one;
	while (str_split(&all, ' ', &one))
		if (one.n > 0 && (str_eq(one, STR("*")) || str_eq_nocase(one, origin)))
			return true;
	return false;
}

bool request_cors(struct request *q)
{
	struct http_req *h = q->http;
	if (conf_now()->server_cors_origins[0] == '\0')
		return false;
	http_reply_header(h, "Vary", STR("Origin"));
	struct str origin = http_req_header(h, "origin");
	if (!origin.p || !is_allowed_origin(origin))
		return false;
	http_reply_header(h, "Access-Control-Allow-Origin", origin);
	http_reply_header(h, "Access-Control-Expose-Headers",
	                  STR("Accept-Ranges, Content-Disposition, Content-Range, ETag, Idempotent-Replayed, Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, retry-after-ms, "
	                      "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-request-id, x-should-retry, "
	                      "x-millrace-job-id, x-millrace-level, x-millrace-target, x-millrace-cost-usd, x-millrace-attempts, x-millrace-cached"));
	if (h->method != HTTP_OPTIONS || !http_req_header(h, "access-control-request-method").p)
		return false;
	http_reply_header(h, "Access-Control-Allow-Methods", STR("GET, HEAD, POST, DELETE, OPTIONS"));
	http_reply_header(
	    h, "Access-Control-Allow-Headers",
	    STR("Authorization, Content-Type, Idempotency-Key, If-None-Match, If-Range, Prefer, Range, x-api-key, x-request-id"));
	http_reply_header(h, "Access-Control-Max-Age", STR("86400"));
	h->route = "preflight";
	http_reply(h, 204, (struct str){ 0 }, (struct str){ 0 });
	return true;
}
