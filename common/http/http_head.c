/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a request. First its end is looked for, byte by byte and strictly: CR LF only, no NUL or other
 * control character, no folded line, no more bytes and lines than allowed; the request line is judged as soon as it
 * is there. So most bad input is refused at its first bad byte, however it is cut into packets. The whole head is
 * then copied once into the request's arena, llhttp finds its parts there (no copies), and what llhttp leaves open
 * is checked: version, Host, Transfer-Encoding against Content-Length, doubled headers, Expect, Upgrade, target.
 *
 * When all is well the handler gets on_head; else http_conn_refuse answers and closes.
 */
#include "common/http/http_conn.h"

#include <string.h>

#include "common/clock.h"
#include "common/id.h"

#define LINE_EXTRA  48u /* of a request line, beside its target */
#define BLANKS_MAX  2u  /* RFC 9112 2.2: an empty line before the request line is ignored */
#define ID_TEXT_LEN 128u

/* "METHOD target HTTP/1.x": version and sizes; the rest is llhttp's. */
static int check_request_line(struct str line, const struct http_limits *l, struct err *err)
{
	size_t sp = line.n, target;
	while (sp && line.p[sp - 1] != ' ')
		sp--;
	struct str version = str_sub(line, sp, line.n);
	ssize_t first = str_find_char(line, ' ');
	if (first <= 0 || (size_t)first + 1 >= sp)
		return err_set(err, ERR_BAD_HTTP, "the request line is not METHOD, target and HTTP version");
	for (target = (size_t)first; target < sp && line.p[target] == ' ';)
		target++;
	while (sp > target && line.p[sp - 1] == ' ')
		sp--;
	if (sp - target > l->target_bytes)
		return err_set(err, ERR_URI_TOO_LONG, "the target has %zu bytes; %u are allowed", sp - target,
		               l->target_bytes);
	if (str_eq(version, STR("HTTP/1.1")) || str_eq(version, STR("HTTP/1.0")))
		return 0;
	if (str_has_prefix(version, STR("HTTP/")) && version.n >= 6 && version.n <= 8 && version.p[5] >= '0' &&
	    version.p[5] <= '9')
		return err_set(err, ERR_HTTP_VERSION, "HTTP/1.1 and HTTP/1.0 are spoken here");
	return err_set(err, ERR_BAD_HTTP, "the request line does not end with an HTTP version");
}

static int scan_line_end(struct head_scan *k, const char *text, const struct http_limits *l, struct err *err)
{
	uint32_t n = k->at - 1 - k->line_at;
	k->cr = false;
	if (!k->lines) {
		int rc = check_request_line((struct str){ text + k->line_at, n }, l, err);
		if (rc < 0)
			return rc;
	} else if (!n) {
		return 1;
	} else if (k->lines > l->header_count) {
		return err_set(err, ERR_HEAD_TOO_LARGE, "there are more than %u header lines", l->header_count);
	}
	k->lines++;
	k->line_at = k->at + 1;
	return 0;
}

static int scan_byte(const struct head_scan *k, unsigned char ch, struct err *err)
{
	if (ch == '\n')
		return err_set(err, ERR_BAD_HTTP, "a line ends with LF alone");
	if (ch == 0x7f || (ch < 0x20 && ch != '\t'))
		return err_set(err, ERR_BAD_HTTP, "there is a control character in the head");
	if (!k->lines && (ch == '\t' || ch > 0x7f))
		return err_set(err, ERR_BAD_HTTP, "the request line may hold printable ASCII only");
	if (k->lines && k->at == k->line_at && (ch == ' ' || ch == '\t'))
		return err_set(err, ERR_BAD_HTTP, "a header line begins with a space (folding is not allowed)");
	return 0;
}

/* 1: k->at is just after the head; 0: more is needed; negative: refused. Goes on where it stopped. */
static int scan(struct head_scan *k, struct str text, const struct http_limits *l, struct err *err)
{
	size_t end = MIN(text.n, l->head_bytes);
	for (; k->at < end; k->at++) {
		unsigned char ch = (unsigned char)text.p[k->at];
		int rc;
		if (k->cr && ch != '\n')
			return err_set(err, ERR_BAD_HTTP, "there is a CR without LF");
		if (k->cr) {
			rc = scan_line_end(k, text.p, l, err);
			if (rc > 0)
				k->at++;
			if (rc)
				return rc;
			continue;
		}
		if (!k->lines && k->at >= l->target_bytes + LINE_EXTRA)
			return err_set(err, ERR_URI_TOO_LONG, "the request line is too long");
		if (ch == '\r')
			k->cr = true;
		else if ((rc = scan_byte(k, ch, err)) < 0)
			return rc;
	}
	if (k->at >= l->head_bytes)
		return err_set(err, ERR_HEAD_TOO_LARGE, "the head has more than %u bytes", l->head_bytes);
	return 0;
}

int http_head_field(struct http_conn *c, const char *at, size_t n)
{
	struct http_req *r = c->req;
	if (r->nheaders >= c->scan.lines)
		return -1;
	struct str *name = &r->headers[r->nheaders].name;
	if (!name->p)
		name->p = at;
	name->n = (size_t)(at + n - name->p);
	return 0;
}

int http_head_value(struct http_conn *c, const char *at, size_t n)
{
	struct http_req *r = c->req;
	if (r->nheaders >= c->scan.lines)
		return -1;
	struct str *value = &r->headers[r->nheaders].value;
	if (!value->p)
		value->p = at;
	value->n = (size_t)(at + n - value->p);
	return 0;
}

int http_head_value_end(struct http_conn *c)
{
	struct http_req *r = c->req;
	if (r->nheaders >= c->scan.lines)
		return -1;
	struct http_header *h = &r->headers[r->nheaders++];
	if (!h->name.n) {
		llhttp_set_error_reason(&c->parser, "a header has no name");
		return HPE_USER;
	}
	h->value = h->value.p ? str_trim(h->value) : STR("");
	return 0;
}

static int check_method(struct http_req *r, uint8_t method, struct err *err)
{
	switch (method) {
	case LLHTTP_METHOD_GET:
		r->method = HTTP_GET;
		return 0;
	case HTTP_HEAD:
		r->method = HTTP_HEAD_;
		return 0;
	case LLHTTP_METHOD_POST:
		r->method = HTTP_POST;
		return 0;
	case LLHTTP_METHOD_PUT:
		r->method = HTTP_PUT;
		return 0;
	case LLHTTP_METHOD_PATCH:
		r->method = HTTP_PATCH;
		return 0;
	case LLHTTP_METHOD_DELETE:
		r->method = HTTP_DELETE;
		return 0;
	case LLHTTP_METHOD_OPTIONS:
		r->method = HTTP_OPTIONS;
		return 0;
	case HTTP_CONNECT:
	case HTTP_TRACE:
		http_reply_header(r, "allow", STR("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
		return err_set(err, ERR_METHOD, "CONNECT and TRACE are not served");
	default:
		return 0; /* HTTP_OTHER: the handler knows where it is not allowed */
	}
}

enum known {
	H_HOST,
	H_AUTHORIZATION,
	H_IDEMPOTENCY_KEY,
	H_CONTENT_TYPE,
	H_CONTENT_LENGTH,
	H_TRANSFER_ENCODING,
	H_EXPECT,
	H_UPGRADE,
	H_REQUEST_ID,
	H_COUNT,
};

/* Headers that the server itself looks at. Two of one that is single let two readers differ: refused. */
static const struct {
	struct str name;
	bool single;
} known_headers[H_COUNT] = {
	[H_HOST] = { { "host", 4 }, true },
	[H_AUTHORIZATION] = { { "authorization", 13 }, true },
	[H_IDEMPOTENCY_KEY] = { { "idempotency-key", 15 }, true },
	[H_CONTENT_TYPE] = { { "content-type", 12 }, true },
	[H_CONTENT_LENGTH] = { { "content-length", 14 }, true },
	[H_TRANSFER_ENCODING] = { { "transfer-encoding", 17 }, true },
	[H_EXPECT] = { { "expect", 6 }, true },
	[H_UPGRADE] = { { "upgrade", 7 }, false },
	[H_REQUEST_ID] = { { "x-request-id", 12 }, false },
};

static int gather(struct http_req *r, const struct http_header *found[H_COUNT], struct err *err)
{
	for (size_t i = 0; i < r->nheaders; i++) {
		const struct http_header *h = &r->headers[i];
		for (size_t k = 0; k < H_COUNT; k++) {
			if (h->name.n != known_headers[k].name.n || !str_eq_nocase(h->name, known_headers[k].name))
				continue;
			if (found[k] && known_headers[k].single)
				return err_set(err, ERR_BAD_HTTP, "there are two " STR_FMT " headers",
				               STR_ARG(known_headers[k].name));
			if (!found[k])
				found[k] = h;
		}
	}
	return 0;
}

static void take_request_id(struct http_req *r, const struct http_header *h)
{
	if (!h || !h->value.n || h->value.n > ID_TEXT_LEN)
		return;
	for (size_t i = 0; i < h->value.n; i++)
		if (h->value.p[i] < 0x20 || h->value.p[i] > 0x7e)
			return;
	r->request_id = h->value;
}

static int check_framing(struct http_req *r, const struct http_header *const found[H_COUNT], struct err *err)
{
	const struct http_header *te = found[H_TRANSFER_ENCODING], *cl = found[H_CONTENT_LENGTH];
	uint64_t n;
	if (te && cl)
		return err_set(err, ERR_BAD_HTTP, "Transfer-Encoding and Content-Length exclude each other");
	if (te && r->http10)
		return err_set(err, ERR_BAD_HTTP, "HTTP/1.0 has no Transfer-Encoding");
	if (te && !str_eq_nocase(te->value, STR("chunked")))
		return err_set(err, ERR_NOT_IMPLEMENTED, "the only Transfer-Encoding here is chunked");
	r->chunked = te != NULL;
	if (!cl)
		return 0;
	if (str_u64(cl->value, 0, INT64_MAX, &n) < 0)
		return err_set(err, ERR_BAD_HTTP, "Content-Length is not a number");
	r->content_length = (int64_t)n;
	return 0;
}

static int check_headers(struct http_req *r, struct err *err)
{
	const struct http_header *found[H_COUNT] = { 0 };
	int rc = gather(r, found, err);
	take_request_id(r, found[H_REQUEST_ID]);
	if (rc < 0)
		return rc;
	if (!found[H_HOST] && !r->http10)
		return err_set(err, ERR_BAD_HTTP, "there is no Host header");
	if (found[H_HOST] && !http_host_is_valid(found[H_HOST]->value))
		return err_set(err, ERR_BAD_HTTP, "the Host header is not host[:port]");
	rc = check_framing(r, found, err);
	if (rc < 0)
		return rc;
	if (found[H_UPGRADE] &&
	    !str_eq_nocase(found[H_UPGRADE]->value, STR("h2c"))) /* an offer of h2c may be ignored */
		return err_set(err, ERR_NOT_IMPLEMENTED, "no other protocol is spoken here");
	if (found[H_EXPECT] && !r->http10) {
		if (!str_eq_nocase(found[H_EXPECT]->value, STR("100-continue")))
			return err_set(err, ERR_EXPECTATION, "the only expectation is 100-continue");
		r->expect_continue = true;
	}
	return 0;
}

static int parse_error(const llhttp_t *p, struct err *err)
{
	switch (llhttp_get_errno(p)) {
	case HPE_INVALID_METHOD:
		return err_set(err, ERR_NOT_IMPLEMENTED, "that method is not known");
	case HPE_INVALID_VERSION:
		return err_set(err, ERR_HTTP_VERSION, "HTTP/1.1 and HTTP/1.0 are spoken here");
	default:
		return err_set(err, ERR_BAD_HTTP, "%s", llhttp_get_error_reason(p));
	}
}

/* text is the whole head, in the request's arena. */
static int head_parse(struct http_conn *c, struct str text, struct str *ret_rest, struct err *err)
{
	struct http_req *r = c->req;
	llhttp_init(&c->parser, HTTP_REQUEST, &http_parser_settings);
	c->parser.data = c;
	r->headers = arena_array(&r->arena, struct http_header, c->scan.lines);
	r->method_text = str_sub(text, 0, (size_t)str_find_char(text, ' '));
	if (llhttp_execute(&c->parser, text.p, text.n) != HPE_PAUSED)
		return parse_error(&c->parser, err);
	const char *pos = llhttp_get_error_pos(&c->parser);
	*ret_rest = str_sub(text, (size_t)(pos - text.p), text.n);
	r->http10 = c->parser.http_minor == 0;
	r->close_after = !llhttp_should_keep_alive(&c->parser);
	int rc = check_method(r, c->parser.method, err);
	if (rc == 0)
		rc = check_headers(r, err);
	if (rc == 0)
		rc = http_target_parse(r, err);
	return rc;
}

static void head_done(struct http_conn *c, struct str text)
{
	struct str rest;
	struct err err;
	struct http_req *r = http_req_new(c);
	char *copy = arena_alloc(&r->arena, text.n);
	memcpy(copy, text.p, text.n);
	buf_done(&c->head);
	int rc = head_parse(c, (struct str){ copy, text.n }, &rest, &err);
	c->scan = (struct head_scan){ 0 };
	if (rc < 0) {
		http_conn_refuse(c, &err);
		return;
	}
	char id[ID_TEXT_MAX];
	if (!r->request_id.n)
		r->request_id = arena_str(&r->arena, id_text(id_make(-1), "req_", id));
	c->state = CONN_BODY;
	c->since_ms = loop_now_ms(c->server->loop);
	r->body_done = !r->chunked && r->content_length <= 0;
	r->announced = true;
	c->server->handler.on_head(r);
	if (c->req == r && c->state == CONN_BODY)
		http_body_begin(c, rest.p, rest.n);
}

size_t http_head_take(struct http_conn *c, const char *p, size_t n)
{
	const struct http_limits *l = &c->server->limits;
	struct err err;
	if (!c->head.n && !c->blanks)
		c->since_ms = loop_now_ms(c->server->loop);
	if (c->blanks < BLANKS_MAX && !c->head.n && (*p == '\r' || c->blanks == 1)) {
		if (*p == (c->blanks ? '\n' : '\r')) {
			c->blanks++;
			return 1;
		}
		err_set(&err, ERR_BAD_HTTP, "there is a CR without LF");
		http_conn_refuse(c, &err);
		return n;
	}
	size_t before = c->head.n;
	struct str text = { p, n };
	if (before) { /* a head in pieces: gathered, never more than one byte over the limit */
		size_t room = l->head_bytes > before ? l->head_bytes - before : 0;
		buf_add(&c->head, p, MIN(n, room));
		text = buf_str(&c->head);
	}
	int rc = scan(&c->scan, text, l, &err);
	if (rc == 0) {
		if (!before)
			buf_add(&c->head, p, n);
		return n;
	}
	size_t end = c->scan.at;
	if (rc < 0) {
		c->scan = (struct head_scan){ 0 };
		http_conn_refuse(c, &err);
		return n;
	}
	head_done(c, str_sub(text, 0, end));
	return end - before;
}
