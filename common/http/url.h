/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one strict reading of an http(s) URL: what this accepts, every later reader (libcurl) reads the same way. Anything unusual is refused
 * instead of repaired: credentials, backslashes, spaces, control and non-ASCII bytes, missing slashes, percent signs in the host, zone ids.
 */
#ifndef MR_COMMON_HTTP_URL_H
#define MR_COMMON_HTTP_URL_H

#include "common/err.h"

#define URL_MAX 2048
#define URL_HOST_MAX 253

enum url_host_kind { URL_HOST_NAME, URL_HOST_IPV4, URL_HOST_IPV6 };

struct url {
	bool https;
	enum url_host_kind kind;
	struct str host;   /* as written, without brackets; borrowed from the text */
	uint16_t port;     /* the scheme's when none is given */
	uint8_t addr[16];  /* of a literal; IPv4 as ::ffff:a.b.c.d, whatever its spelling (decimal, octal, hex, short) */
};

/* -ERR_INVALID with a text that says what is wrong. */
int url_split(struct str text, struct url *ret, struct err *err);

#endif
