/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All is well: the canonical request is built from the request line, the headers named in SignedHeaders and the body's hash; the key is
 * derived from the secret and the scope; the signature that comes out is the one in the Authorization header. What is missing or has another
 * form makes the request wrong.
 */
#include "tests/lib/sigv4.h"

#include <string.h>

#include "common/buf.h"
#include "common/crypto.h"
#include "common/http/http_types.h"

#define HEADERS_MAX 32

struct sigv4 {
	struct str method, path, query, body;
	struct http_header headers[HEADERS_MAX];
	size_t nheaders;
	struct str access, date, region, service, names, signature;
};

static bool read_request(struct sigv4 *s, struct str request)
{
	ssize_t end = str_find(request, STR("\r\n\r\n"));
	if (end < 0)
		return false;
	struct str head = str_sub(request, 0, (size_t)end), line, target;
	s->body = str_sub(request, (size_t)end + 4, request.n);
	if (!str_split(&head, '\n', &line) || !str_split(&line, ' ', &s->method) || !str_split(&line, ' ', &target))
		return false;
	ssize_t mark = str_find_char(target, '?');
	s->path = mark < 0 ? target : str_sub(target, 0, (size_t)mark);
	s->query = mark < 0 ? STR("") : str_sub(target, (size_t)mark + 1, target.n);
	while (str_split(&head, '\n', &line)) {
		ssize_t colon = str_find_char(line, ':');
		if (colon <= 0 || s->nheaders == HEADERS_MAX)
			return false;
		s->headers[s->nheaders++] = (struct http_header){ str_sub(line, 0, (size_t)colon), str_trim(str_sub(line, (size_t)colon + 1, line.n)) };
	}
	return true;
}

static struct str part_of(struct str authorization, struct str name)
{
	ssize_t at = str_find(authorization, name);
	struct str rest = at < 0 ? STR("") : str_sub(authorization, (size_t)at + name.n, authorization.n), part = STR("");
	str_split(&rest, ',', &part);
	return part;
}

static bool read_authorization(struct sigv4 *s)
{
	struct str a = http_find(s->headers, s->nheaders, "authorization"), end;
	if (!str_has_prefix(a, STR("AWS4-HMAC-SHA256 ")))
		return false;
	struct str scope = part_of(a, STR("Credential="));
	s->names = part_of(a, STR("SignedHeaders="));
	s->signature = part_of(a, STR("Signature="));
	return str_split(&scope, '/', &s->access) && str_split(&scope, '/', &s->date) && str_split(&scope, '/', &s->region) &&
	       str_split(&scope, '/', &s->service) && str_split(&scope, '/', &end) && str_eq_z(end, "aws4_request") && scope.n == 0;
}

static void add_hex_hash(struct buf *b, struct str s)
{
	uint8_t hash[SHA256_LEN];
	crypto_sha256(s, hash);
	crypto_hex(b, (struct str){ (const char *)hash, sizeof(hash) });
}

/* The names are in order and hold what must be signed: the host and every x-amz- header. */
static bool names_are_right(const struct sigv4 *s)
{
	struct str rest = s->names, name, last = STR("");
	bool host = false;
	size_t amz = 0, sent = 0;
	while (str_split(&rest, ';', &name)) {
		int order = memcmp(last.p, name.p, MIN(last.n, name.n));
		if (order > 0 || (order == 0 && last.n >= name.n && last.n > 0))
			return false;
		host |= str_eq_z(name, "host");
		amz += str_has_prefix(name, STR("x-amz-"));
		last = name;
	}
	for (size_t i = 0; i < s->nheaders; i++)
		sent += str_has_prefix_nocase(s->headers[i].name, STR("x-amz-"));
	return host && amz == sent;
}

static bool write_canonical(const struct sigv4 *s, struct buf *b)
{
	struct str rest = s->names, name;
	char z[64];
	buf_add_str(b, s->method);
	buf_add_char(b, '\n');
	for (size_t i = 0; i < s->path.n; i++) { /* the path as it came, encoded once more */
		unsigned char c = (unsigned char)s->path.p[i];
		bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || strchr("-._~/", c);
		if (plain)
			buf_add_char(b, (char)c);
		else
			buf_printf(b, "%%%02X", c);
	}
	buf_printf(b, "\n" STR_FMT "\n", STR_ARG(s->query));
	while (str_split(&rest, ';', &name)) {
		if (name.n >= sizeof(z))
			return false;
		memcpy(z, name.p, name.n);
		z[name.n] = '\0';
		struct str value = http_find(s->headers, s->nheaders, z);
		if (!value.p || http_count(s->headers, s->nheaders, z) != 1)
			return false;
		buf_printf(b, "%s:" STR_FMT "\n", z, STR_ARG(value));
	}
	buf_printf(b, "\n" STR_FMT "\n", STR_ARG(s->names));
	add_hex_hash(b, s->body);
	return true;
}

static bool signature_is_right(const struct sigv4 *s, struct str canonical, const char *secret_key)
{
	struct str at = http_find(s->headers, s->nheaders, "x-amz-date");
	const struct str steps[] = { s->date, s->region, s->service, STR("aws4_request") };
	uint8_t key[SHA256_LEN];
	struct buf b;
	if (!str_has_prefix(at, s->date))
		return false;
	buf_init(&b, 1 << 20);
	buf_printf(&b, "AWS4%s", secret_key);
	struct str with = buf_str(&b);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		crypto_hmac_sha256(with, &steps[i], 1, key);
		with = (struct str){ (const char *)key, sizeof(key) };
	}
	buf_clear(&b);
	buf_printf(&b, "AWS4-HMAC-SHA256\n" STR_FMT "\n" STR_FMT "/" STR_FMT "/" STR_FMT "/aws4_request\n", STR_ARG(at), STR_ARG(s->date),
	           STR_ARG(s->region), STR_ARG(s->service));
	add_hex_hash(&b, canonical);
	struct str text = buf_str(&b);
	crypto_hmac_sha256(with, &text, 1, key);
	buf_clear(&b);
	crypto_hex(&b, (struct str){ (const char *)key, sizeof(key) });
	bool same = str_eq(buf_str(&b), s->signature);
	buf_done(&b);
	return same;
}

bool sigv4_holds(struct str request, const char *secret_key)
{
	struct sigv4 s = { .nheaders = 0 };
	struct buf b;
	if (!read_request(&s, request) || !read_authorization(&s) || !names_are_right(&s))
		return false;
	buf_init(&b, 1 << 20);
	bool ok = write_canonical(&s, &b) && signature_is_right(&s, buf_str(&b), secret_key);
	buf_done(&b);
	return ok;
}
