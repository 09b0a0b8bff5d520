/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Status texts, header look-up and media types: what both ends of HTTP need and neither owns. Header lists are short (at most
 * limits.headers), so looking through them in order is the quickest way.
 */
#include "common/http/http_types.h"

#include <string.h>

const char *http_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} rows[] = {
		{ 100, "Continue" },
		{ 101, "Switching Protocols" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 206, "Partial Content" },
		{ 207, "Multi-Status" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 303, "See Other" },
		{ 304, "Not Modified" },
		{ 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 402, "Payment Required" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 406, "Not Acceptable" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 410, "Gone" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 416, "Range Not Satisfiable" },
		{ 417, "Expectation Failed" },
		{ 422, "Unprocessable Content" },
		{ 425, "Too Early" },
		{ 426, "Upgrade Required" },
		{ 428, "Precondition Required" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 499, "Client Closed Request" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
		{ 507, "Insufficient Storage" },
		{ 529, "Site is overloaded" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].status == status)
			return rows[i].reason;
	return "Unknown";
}

struct str http_find(const struct http_header *h, size_t n, const char *name)
{
	struct str wanted = str_from(name);
	for (size_t i = 0; i < n; i++)
		if (str_eq_nocase(h[i].name, wanted))
			return h[i].value.p ? h[i].value : STR("");
	return (struct str){ NULL, 0 };
}

size_t http_count(const struct http_header *h, size_t n, const char *name)
{
	struct str wanted = str_from(name);
	size_t count = 0;
	for (size_t i = 0; i < n; i++)
		count += str_eq_nocase(h[i].name, wanted);
	return count;
}

struct str http_media_type(struct str content_type, char *out, size_t n)
{
	struct str type;
	if (!str_split(&content_type, ';', &type))
		return (struct str){ out, 0 };
	type = str_trim(type);
	if (type.n > n) /* no type that is known is that long */
		return (struct str){ out, 0 };
	for (size_t i = 0; i < type.n; i++)
		out[i] = (char)(type.p[i] >= 'A' && type.p[i] <= 'Z' ? type.p[i] | 0x20 : type.p[i]);
	return (struct str){ out, type.n };
}
