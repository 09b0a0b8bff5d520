/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads scheme://host[:port][/path][?query][#fragment]. All is well: the parts point into the caller's text, and a literal
 * address is also given as bytes. A host whose last label is a number is an IPv4 address in one of inet_aton's spellings or an
 * error, never a name: otherwise 0x7f.1 would be judged as a name here and reached as 127.0.0.1 by the resolver. What names resolve to
 * is not known here (common/http/netguard.h judges that where the connection is made).
 */
#include "common/http/url.h"

#include <arpa/inet.h>
#include <string.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* One number of an IPv4 address: decimal, 0octal or 0xhex. */
static int read_part(struct str s, uint64_t *ret)
{
	uint64_t v = 0;
	unsigned base = 10;

	if (s.n >= 2 && s.p[0] == '0' && (s.p[1] | 0x20) == 'x') {
		base = 16;
		s = str_sub(s, 2, s.n);
	} else if (s.n >= 2 && s.p[0] == '0') {
		base = 8;
		s = str_sub(s, 1, s.n);
	}
	if (s.n == 0 || s.n > 16)
		return -ERR_INVALID;
	for (size_t i = 0; i < s.n; i++) {
		int d = hex_value(s.p[i]);
		if (d < 0 || (unsigned)d >= base)
			return -ERR_INVALID;
		v = v * base + (unsigned)d;
		if (v > UINT32_MAX)
			return -ERR_INVALID;
	}
	*ret = v;
	return 0;
}

/* inet_aton's forms: a, a.b, a.b.c, a.b.c.d; the last number fills what is left. */
static int read_ipv4(struct str host, uint8_t ret[16])
{
	uint64_t parts[4], last;
	uint32_t addr = 0;
	struct str piece;
	unsigned n = 0;

	while (str_split(&host, '.', &piece)) {
		if (n == 4 || read_part(piece, &parts[n]))
			return -ERR_INVALID;
		n++;
	}
	if (n == 0)
		return -ERR_INVALID;
	last = parts[n - 1];
	if (n > 1 && last >> (8 * (5 - n)))
		return -ERR_INVALID;
	for (unsigned i = 0; i + 1 < n; i++) {
		if (parts[i] > 255)
			return -ERR_INVALID;
		addr |= (uint32_t)parts[i] << (24 - 8 * i);
	}
	addr = htonl(addr | (uint32_t)last);
	memset(ret, 0, 10);
	memset(ret + 10, 0xff, 2);
	memcpy(ret + 12, &addr, 4);
	return 0;
}

/* The last label begins with a digit and is all digits, or is a 0x number: such a host is meant as an address. */
static bool ends_in_number(struct str host)
{
	size_t from = host.n;
	struct str label;

	while (from > 0 && host.p[from - 1] != '.')
		from--;
	label = str_sub(host, from, host.n);
	if (label.n >= 2 && label.p[0] == '0' && (label.p[1] | 0x20) == 'x') {
		for (size_t i = 2; i < label.n; i++)
			if (hex_value(label.p[i]) < 0)
				return false;
		return true;
	}
	for (size_t i = 0; i < label.n; i++)
		if (!is_digit(label.p[i]))
			return false;
	return label.n > 0;
}

static int check_name(struct str host, struct err *err)
{
	size_t label = 0;

	if (host.n > URL_HOST_MAX)
		return err_set(err, ERR_INVALID, "the host is longer than %d bytes", URL_HOST_MAX);
	for (size_t i = 0; i < host.n; i++) {
		char c = host.p[i];
		bool alnum = is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
		if (c == '.') {
			if (label == 0)
				return err_set(err, ERR_INVALID, "the host has an empty label");
			label = 0;
			continue;
		}
		if (!alnum && c != '_' && !(c == '-' && label > 0))
			return err_set(err, ERR_INVALID, "the host has a character that is not allowed");
		if (++label > 63)
			return err_set(err, ERR_INVALID, "a label of the host is longer than 63 bytes");
	}
	if (label == 0)
		return err_set(err, ERR_INVALID, "the host ends with a dot");
	return 0;
}

static int read_ipv6(struct str host, uint8_t ret[16])
{
	char z[INET6_ADDRSTRLEN];

	if (host.n >= sizeof(z))
		return -ERR_INVALID;
	memcpy(z, host.p, host.n);
	z[host.n] = 0;
	return inet_pton(AF_INET6, z, ret) == 1 ? 0 : -ERR_INVALID;
}

static int read_host(struct str host, bool brackets, struct url *u, struct err *err)
{
	u->host = host;
	if (host.n == 0)
		return err_set(err, ERR_INVALID, "the URL has no host");
	if (brackets) {
		u->kind = URL_HOST_IPV6;
		if (read_ipv6(host, u->addr))
			return err_set(err, ERR_INVALID, "what stands in brackets is not an IPv6 address");
		return 0;
	}
	int rc = check_name(host, err);
	if (rc)
		return rc;
	if (!ends_in_number(host)) {
		u->kind = URL_HOST_NAME;
		return 0;
	}
	u->kind = URL_HOST_IPV4;
	if (read_ipv4(host, u->addr))
		return err_set(err, ERR_INVALID, "the host is not a valid IPv4 address");
	return 0;
}

static int check_bytes(struct str text, struct err *err)
{
	if (text.n > URL_MAX)
		return err_set(err, ERR_INVALID, "the URL is longer than %d bytes", URL_MAX);
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (c <= ' ' || c >= 0x7f || c == '\\')
			return err_set(err, ERR_INVALID, "the URL has a character that must be percent-encoded");
	}
	return 0;
}

/* authority is host[:port] or [address][:port]. */
static int read_authority(struct str authority, struct url *u, struct err *err)
{
	struct str host = authority, port = { NULL, 0 };
	bool brackets = authority.n > 0 && authority.p[0] == '[';
	uint64_t n;

	if (str_find_char(authority, '@') >= 0)
		return err_set(err, ERR_INVALID, "the URL must not hold credentials");
	ssize_t end = brackets ? str_find_char(authority, ']') : str_find_char(authority, ':');
	if (brackets && end < 0)
		return err_set(err, ERR_INVALID, "the URL has a bracket that is not closed");
	if (end >= 0) {
		host = brackets ? str_sub(authority, 1, (size_t)end - 1) : str_sub(authority, 0, (size_t)end);
		port = str_sub(authority, (size_t)end + (brackets ? 1 : 0), authority.n);
	}
	if (port.n > 0) {
		if (port.p[0] != ':' || port.n > 6 || str_u64(str_sub(port, 1, port.n), 1, 65535, &n))
			return err_set(err, ERR_INVALID, "the port is not a number from 1 to 65535");
		u->port = (uint16_t)n;
	}
	return read_host(host, brackets, u, err);
}

int url_split(struct str text, struct url *ret, struct err *err)
{
	struct url u = { .port = 80 };
	struct str rest;
	size_t n = 0;

	int rc = check_bytes(text, err);
	if (rc)
		return rc;
	if (str_has_prefix_nocase(text, STR("https://"))) {
		u.https = true;
		u.port = 443;
		rest = str_sub(text, 8, text.n);
	} else if (str_has_prefix_nocase(text, STR("http://"))) {
		rest = str_sub(text, 7, text.n);
	} else {
		return err_set(err, ERR_INVALID, "the URL must begin with https:// or http://");
	}
	while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?' && rest.p[n] != '#')
		n++;
	rc = read_authority(str_sub(rest, 0, n), &u, err);
	if (rc)
		return rc;
	*ret = u;
	return 0;
}
