/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All is well: the canonical request (method, path, the headers that are signed, the body's hash) is hashed into the text to sign, and a
 * key derived from the secret key, the day, the region and the service signs it. Signed are the host, the content type and all x-amz- headers: what
 * others on the way may change (user agent, accept) is not.
 *
 * What can go wrong is said by http_sigv4_check before the call starts; signing itself cannot fail.
 */
#include "common/http/http_sigv4.h"

#include <string.h>
#include <time.h>

#include "common/crypto.h"

#define SIGNED_MAX 32

/* The call's URL and keys, taken apart. */
struct parts {
	struct str host, path;      /* path: as it is sent */
	struct str region, service;
	struct str access, secret;
};

static bool take_apart(const struct http_call *c, struct parts *p)
{
	struct str url = str_from(c->url), scope = str_from(c->aws_sigv4), user = str_from(c->aws_user), aws, amz;
	ssize_t at = str_find(url, STR("://")), colon = str_find_char(user, ':');
	if (at < 0 || colon <= 0 || str_find_char(url, '?') >= 0)
		return false;
	p->host = str_sub(url, (size_t)at + 3, url.n);
	at = str_find_char(p->host, '/');
	p->path = at < 0 ? STR("/") : str_sub(p->host, (size_t)at, p->host.n);
	p->host = at < 0 ? p->host : str_sub(p->host, 0, (size_t)at);
	p->access = str_sub(user, 0, (size_t)colon);
	p->secret = str_sub(user, (size_t)colon + 1, user.n);
	return str_split(&scope, ':', &aws) && str_split(&scope, ':', &amz) && str_split(&scope, ':', &p->region) && str_split(&scope, ':', &p->service) &&
	       scope.n == 0 && str_eq_z(aws, "aws") && str_eq_z(amz, "amz") && p->region.n && p->service.n && p->secret.n;
}

int http_sigv4_check(const struct http_call *c, struct err *err)
{
	static const char *const made[] = { "host", "x-amz-date", "authorization" };
	struct parts p;
	if (!take_apart(c, &p))
		return err_set(err, ERR_INVALID, "a signed call needs an access key and a secret key, a region and a service, and a URL without a query");
	for (size_t i = 0; i < ARRAY_LEN(made); i++)
		if (http_find(c->headers, c->nheaders, made[i]).p)
			return err_set(err, ERR_INVALID, "the header %s of a signed call is made by the client itself", made[i]);
	return c->nheaders + 2 <= SIGNED_MAX ? 0 : err_set(err, ERR_INVALID, "a signed call has at most %d headers", SIGNED_MAX - 2);
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static int compare_names(struct str a, struct str b)
{
	for (size_t i = 0; i < MIN(a.n, b.n); i++) {
		int x = lower(a.p[i]), y = lower(b.p[i]);
		if (x != y)
			return x - y;
	}
	return a.n < b.n ? -1 : a.n > b.n;
}

/* What is signed, in order. The first two of own are the client's. */
static size_t signed_headers(const struct http_call *c, const struct http_header *own, struct http_header list[SIGNED_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < c->nheaders + 2; i++) {
		struct http_header h = i < 2 ? own[i] : c->headers[i - 2];
		size_t at = n;
		if (i >= 2 && !str_eq_nocase(h.name, STR("content-type")) && !str_has_prefix_nocase(h.name, STR("x-amz-")))
			continue;
		for (; at > 0 && compare_names(list[at - 1].name, h.name) > 0; at--)
			list[at] = list[at - 1];
		list[at] = h;
		n++;
	}
	return n;
}

static void add_hash(struct buf *b, struct str s)
{
	uint8_t hash[SHA256_LEN];
	crypto_sha256(s, hash);
	crypto_hex(b, (struct str){ (const char *)hash, sizeof(hash) });
}

static void add_lower(struct buf *b, struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		buf_add_char(b, lower(s.p[i]));
}

static void add_names(struct buf *b, const struct http_header *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i)
			buf_add_char(b, ';');
		add_lower(b, list[i].name);
	}
}

/* A path as it is sent is encoded already; what is signed is encoded once more. */
static void add_path(struct buf *b, struct str path)
{
	buf_add_percent(b, path, "/");
}

static void write_canonical(const struct http_call *c, const struct parts *p, const struct http_header *list, size_t n, struct buf *b)
{
	buf_printf(b, "%s\n", c->method);
	add_path(b, p->path);
	buf_add_z(b, "\n\n");
	for (size_t i = 0; i < n; i++) {
		add_lower(b, list[i].name);
		buf_printf(b, ":" STR_FMT "\n", STR_ARG(str_trim(list[i].value)));
	}
	buf_add_char(b, '\n');
	add_names(b, list, n);
	buf_add_char(b, '\n');
	add_hash(b, c->body);
}

/* The hex signature of the text to sign. */
static void add_signature(struct buf *b, const struct parts *p, struct str day, struct str text)
{
	const struct str steps[] = { day, p->region, p->service, STR("aws4_request"), text };
	uint8_t key[SHA256_LEN];
	struct buf first;
	buf_init(&first, 1 << 16);
	buf_printf(&first, "AWS4" STR_FMT, STR_ARG(p->secret));
	struct str with = buf_str(&first);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		crypto_hmac_sha256(with, &steps[i], 1, key);
		with = (struct str){ (const char *)key, sizeof(key) };
	}
	crypto_hex(b, with);
	crypto_wipe(first.p, first.n);
	crypto_wipe(key, sizeof(key));
	buf_done(&first);
}

void http_sigv4_sign(const struct http_call *c, int64_t now_wall_us, struct buf *text, struct http_header ret[HTTP_SIGV4_HEADERS])
{
	struct http_header list[SIGNED_MAX];
	struct parts p;
	struct buf canonical, to_sign;
	char at[sizeof("20260102T030405Z")];
	time_t seconds = (time_t)(now_wall_us / 1000000);
	struct tm tm;
	bool ok = take_apart(c, &p) && gmtime_r(&seconds, &tm) && strftime(at, sizeof(at), "%Y%m%dT%H%M%SZ", &tm) == sizeof(at) - 1;
	assert(ok);
	struct str day = { at, 8 };
	buf_init(&canonical, 1 << 20);
	buf_init(&to_sign, 1 << 16);

	ret[0] = (struct http_header){ STR("Host"), p.host };
	ret[1] = (struct http_header){ STR("X-Amz-Date"), str_from(at) };
	size_t n = signed_headers(c, ret, list);
	write_canonical(c, &p, list, n, &canonical);
	buf_printf(&to_sign, "AWS4-HMAC-SHA256\n%s\n" STR_FMT "/" STR_FMT "/" STR_FMT "/aws4_request\n", at, STR_ARG(day), STR_ARG(p.region), STR_ARG(p.service));
	add_hash(&to_sign, buf_str(&canonical));

	buf_add_z(text, at);
	buf_printf(text, "AWS4-HMAC-SHA256 Credential=" STR_FMT "/" STR_FMT "/" STR_FMT "/" STR_FMT "/aws4_request, SignedHeaders=", STR_ARG(p.access),
	           STR_ARG(day), STR_ARG(p.region), STR_ARG(p.service));
	add_names(text, list, n);
	buf_add_z(text, ", Signature=");
	add_signature(text, &p, day, buf_str(&to_sign));
	ret[1].value = str_sub(buf_str(text), 0, sizeof(at) - 1);
	ret[2] = (struct http_header){ STR("Authorization"), str_sub(buf_str(text), sizeof(at) - 1, text->n) };
	assert(!buf_failed(&canonical) && !buf_failed(&to_sign) && !buf_failed(text));
	buf_done(&canonical);
	buf_done(&to_sign);
}
