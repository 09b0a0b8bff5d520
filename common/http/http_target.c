/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request target: origin-form, or absolute-form whose scheme and authority are dropped (RFC 9112 3.2.2:
 * accepted, not trusted), or * of OPTIONS. The path is percent-decoded once, dots are not touched; escapes that are
 * broken, NUL and what is not UTF-8 are refused here for path and query, so that nobody behind has to think of
 * them. The query stays as sent.
 */
#include "common/http/http_conn.h"

static int hex(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	ch |= 0x20;
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static int decode(struct arena *a, struct str s, const char *what, struct str *ret, struct err *err)
{
	if (str_find_char(s, '%') < 0) { /* the request line is ASCII without NUL */
		*ret = s;
		return 0;
	}
	char *out = arena_alloc(a, s.n);
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '%') {
			out[n++] = s.p[i];
			continue;
		}
		int hi = i + 2 < s.n ? hex(s.p[i + 1]) : -1;
		int lo = hi >= 0 ? hex(s.p[i + 2]) : -1;
		if (lo < 0)
			return err_set(err, ERR_BAD_HTTP, "the %s has a %% without two hex digits", what);
		if (!hi && !lo)
			return err_set(err, ERR_BAD_HTTP, "the %s holds NUL", what);
		out[n++] = (char)(hi << 4 | lo);
		i += 2;
	}
	*ret = (struct str){ out, n };
	return str_is_utf8(*ret) ? 0 : err_set(err, ERR_BAD_HTTP, "the %s is not UTF-8", what);
}

static bool strip_scheme(struct str *t)
{
	if (str_has_prefix_nocase(*t, STR("http://")))
		*t = str_sub(*t, 7, t->n);
	else if (str_has_prefix_nocase(*t, STR("https://")))
		*t = str_sub(*t, 8, t->n);
	else
		return false;
	size_t i = 0;
	while (i < t->n && t->p[i] != '/' && t->p[i] != '?')
		i++;
	*t = str_sub(*t, i, t->n);
	return i > 0;
}

static struct str find_target(struct http_req *r)
{
	struct str t = r->target;
	return str_has_prefix(t, STR("/")) || strip_scheme(&t) ? t : (struct str){ NULL, 0 };
}

int http_target_parse(struct http_req *r, struct err *err)
{
	struct str ignored;
	if (str_eq(r->target, STR("*")) && r->method == HTTP_OPTIONS) {
		r->path = r->target;
		return 0;
	}
	struct str t = find_target(r);
	if (!t.p || str_find_char(t, '#') >= 0)
		return err_set(err, ERR_BAD_HTTP, "the target is neither a path nor an http URL");
	ssize_t q = str_find_char(t, '?');
	if (q >= 0)
		r->query = str_sub(t, (size_t)q + 1, t.n);
	struct str path = q >= 0 ? str_sub(t, 0, (size_t)q) : t;
	if (!path.n)
		path = STR("/");
	int rc = decode(&r->arena, path, "path", &r->path, err);
	return rc < 0 ? rc : decode(&r->arena, r->query, "query", &ignored, err);
}

static bool is_host_char(char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
	       str_find_char(STR("-._~%!$&'()*+;="), ch) >= 0;
}

bool http_host_is_valid(struct str host)
{
	size_t i = 0;
	uint64_t port;
	if (host.n && host.p[0] == '[') {
		ssize_t end = str_find_char(host, ']');
		for (i = 1; end > 0 && i < (size_t)end; i++)
			if (hex(host.p[i]) < 0 && host.p[i] != ':' && host.p[i] != '.')
				return false;
		if (end < 3)
			return false;
		i = (size_t)end + 1;
	} else {
		while (i < host.n && is_host_char(host.p[i]))
			i++;
		if (!i)
			return false;
	}
	if (i == host.n)
		return true;
	return host.p[i] == ':' && (i + 1 == host.n || str_u64(str_sub(host, i + 1, host.n), 0, 65535, &port) == 0);
}
