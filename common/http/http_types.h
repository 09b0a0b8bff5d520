/* SPDX-License-Identifier: Apache-2.0 */
/* What the HTTP server and client share. */
#ifndef MR_COMMON_HTTP_HTTP_TYPES_H
#define MR_COMMON_HTTP_HTTP_TYPES_H

#include "common/str.h"

struct http_header {
	struct str name, value; /* borrowed */
};

enum http_method { HTTP_GET, HTTP_HEAD_, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OPTIONS, HTTP_OTHER };

const char *http_reason(int status);

/* The first header of that name (ASCII case-insensitive), or the empty str with p NULL. */
struct str http_find(const struct http_header *h, size_t n, const char *name);
/* How many there are. */
size_t http_count(const struct http_header *h, size_t n, const char *name);

/* application/json; charset=utf-8 → application/json (lower case, no parameters), into out. */
struct str http_media_type(struct str content_type, char *out, size_t n);

#endif
