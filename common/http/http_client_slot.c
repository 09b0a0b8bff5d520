/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots: curl's easy handles, with everything that is the same for all calls set once. All is well: a slot is lent to a call, gets
 * its URL, method, headers and body (borrowed, not copied), collects the answer's head and body in curl's callbacks, and
 * says in the end what curl's result means. No callback here runs foreign code: pieces for on_data are only noted, and delivered after
 * curl returned.
 *
 * The peer is hostile: head and body have limits that count everything (informational heads and trailers too), nothing is decompressed,
 * redirects are not followed, and a text of the peer's never becomes an error text with control bytes in it.
 */
#include "common/http/http_client_priv.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/http/http_sigv4.h"

#define METHOD_MAX 16
#define HEADERS_KEPT 8192 /* bytes of a slot's header block that are kept between calls */
#define OWN_HEADERS 2     /* lines that switch off what curl would add by itself */

/* One parsed certificate store for all connections: curl would parse the file anew for each multi handle. */
static CURLcode on_ssl_ctx(CURL *easy, void *ctx, void *arg)
{
	struct http_client *client = arg;

	(void)easy;
	if (!client->ca) {
		X509_STORE *store = X509_STORE_new();
		if (!store || X509_STORE_load_file(store, client->cfg.ca_file) != 1) {
			X509_STORE_free(store);
			return CURLE_SSL_CACERT_BADFILE;
		}
		X509_STORE_set_flags(store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
		client->ca = store;
	}
	SSL_CTX_set1_cert_store(ctx, client->ca);
	return CURLE_OK;
}

/* curl is about to send the request on a connection that stands. It comes a second time when the connection was a kept one that died before a byte of the
 * answer: whether the server has the request then nobody knows, so it is not sent again behind the caller's back. */
static int on_connected(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct http_slot *s = arg;

	(void)ip;
	(void)local_ip;
	(void)port;
	(void)local_port;
	s->call->sent_once = s->call->connected;
	s->call->connected = true;
	if (s->call->sent_once)
		return CURL_PREREQFUNC_ABORT;
	return !s->call->may_send || s->call->may_send(s->call) ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static void note_bytes(struct http_call *c)
{
	c->last_byte_ms = loop_now_ms(c->client->loop);
	if (c->first_byte_ns)
		return;
	c->first_byte_ns = clock_mono_ns();
	if (c->idle_ms)
		http_call_arm(c);
}

/* "name: value\r\n" out of the collected head. Continuation lines (obsolete) are left out. */
static bool read_header(struct str line, struct http_header *ret)
{
	ssize_t colon = str_find_char(line, ':');

	if (colon <= 0 || line.p[0] == ' ' || line.p[0] == '\t')
		return false;
	ret->name = str_trim(str_sub(line, 0, (size_t)colon));
	ret->value = str_trim(str_sub(line, (size_t)colon + 1, line.n));
	return true;
}

static bool head_end(struct http_slot *s)
{
	struct http_call *c = s->call;
	struct str rest = buf_str(&c->head), line;
	size_t lines = 0;
	long status = 0;

	curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200 && status != 101)
		return true;
	for (size_t i = 0; i < c->head.n; i++)
		lines += c->head.p[i] == '\n';
	c->answer_headers = calloc(lines + 1, sizeof(*c->answer_headers));
	if (!c->answer_headers)
		return false;
	while (str_split(&rest, '\n', &line))
		if (read_header(line, &c->answer_headers[c->answer_nheaders]))
			c->answer_nheaders++;
	c->status = (int)status;
	c->head_done = true;
	return true;
}

static size_t on_header(char *p, size_t size, size_t nmemb, void *arg)
{
	struct http_slot *s = arg;
	struct http_call *c = s->call;
	struct str line = { p, size * nmemb };

	note_bytes(c);
	c->head_seen += line.n;
	if (c->head_seen > c->head_max) {
		c->abort_rc = err_set(&c->err, ERR_TOO_LARGE, "%s: the answer's head is larger than %zu bytes", c->host->name,
		                      c->head_max);
		return 0;
	}
	if (c->head_done) /* a trailer */
		return line.n;
	if (str_has_prefix(line, STR("HTTP/")) && c->head.n) /* after an informational head */
		buf_clear(&c->head);
	buf_add_str(&c->head, line);
	if (str_trim(line).n == 0 && !head_end(s))
		return 0;
	return line.n;
}

static bool is_streamed(const struct http_call *c)
{
	return c->on_data && c->status < 400;
}

static size_t on_body(char *p, size_t size, size_t nmemb, void *arg)
{
	struct http_slot *s = arg;
	struct http_call *c = s->call;
	size_t n = size * nmemb, max = c->on_data && !is_streamed(c) ? c->error_max : c->body_max;

	note_bytes(c);
	if (FAULT("call.read")) {
		c->abort_rc = err_set(&c->err, ERR_STREAM_CUT, "%s: failure ordered by a test", c->host->name);
		return 0;
	}
	c->body_seen += n;
	if (c->body_seen > max || buf_add(&c->answer, p, n)) {
		c->abort_rc = err_set(&c->err, ERR_TOO_LARGE, "%s: the answer's body is larger than %zu bytes", c->host->name, max);
		return 0;
	}
	if (is_streamed(c) && !link_is_linked(&s->link))
		list_push(&s->client->dirty, &s->link);
	return n;
}

void http_slots_deliver(struct http_client *client)
{
	struct link *k;

	while ((k = list_pop(&client->dirty))) {
		struct http_call *c = container_of(k, struct http_slot, link)->call;
		int rc = c->on_data(c, buf_str(&c->answer));
		/* Memory is not kept: ten thousand quiet streams would each hold some. The call may have been canceled meanwhile. */
		buf_done(&c->answer);
		buf_init(&c->answer, c->body_max);
		if (rc < 0 && c->state == CALL_RUNNING) {
			if (c->err.code == ERR_OK)
				err_set(&c->err, (enum err_code)-rc, "%s: the answer was not wanted", c->host->name);
			http_call_finish(c, rc);
		}
	}
}

/* All that does not change from call to call. */
static void set_constants(struct http_slot *s)
{
	struct http_client *client = s->client;
	CURL *e = s->easy;
	char *ca = NULL;

	curl_easy_setopt(e, CURLOPT_PRIVATE, s);
	curl_easy_setopt(e, CURLOPT_SHARE, client->share);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_NOPROGRESS, 1L);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 2048L); /* one for each call in flight: 10,000 of them count */
	curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, s->error_text);
	curl_easy_setopt(e, CURLOPT_USERAGENT, client->cfg.user_agent);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_PROXY, "");
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(e, CURLOPT_HTTP_CONTENT_DECODING, 0L);
	curl_easy_setopt(e, CURLOPT_DNS_CACHE_TIMEOUT, 300L);
	curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)MAX(client->cfg.idle_ms / 1000, 1u));
	curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 30L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 15L);
	curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (!client->cfg.ca_file) {
		curl_easy_getinfo(e, CURLINFO_CAINFO, &ca);
		client->cfg.ca_file = strdup(ca ? ca : "");
	}
	curl_easy_setopt(e, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(e, CURLOPT_CA_CACHE_TIMEOUT, 0L);
	curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
	curl_easy_setopt(e, CURLOPT_SSL_CTX_DATA, client);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, http_sock_on_open);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, s);
	curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, http_sock_on_close);
	curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, client);
	curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_connected);
	curl_easy_setopt(e, CURLOPT_PREREQDATA, s);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, s);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, s);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
}

struct http_slot *http_slot_take(struct http_client *client)
{
	struct link *k = list_pop(&client->slots);
	struct http_slot *s;

	if (k)
		return container_of(k, struct http_slot, link);
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->client = client;
	s->easy = curl_easy_init();
	if (!s->easy) {
		free(s);
		return NULL;
	}
	set_constants(s);
	return s;
}

static void slot_free(struct http_slot *s)
{
	curl_easy_cleanup(s->easy);
	free(s->headers);
	free(s);
}

void http_slot_give(struct http_slot *s)
{
	struct http_client *client = s->client;

	assert(!s->shard);
	list_remove(&client->dirty, &s->link);
	http_addrs_unref(take(&s->addrs));
	s->call = NULL;
	if (client->slots.n >= SLOTS_FREE_MAX) {
		slot_free(s);
		return;
	}
	if (s->headers_cap > HEADERS_KEPT) {
		free(take(&s->headers));
		s->headers_cap = 0;
	}
	/* The one used last is the one whose memory is warm. */
	list_push_front(&client->slots, &s->link);
}

void http_slots_done(struct http_client *client)
{
	while (client->slots.n)
		slot_free(container_of(list_pop(&client->slots), struct http_slot, link));
}

static bool is_token(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", s.p[i]))
			return false;
	return s.n > 0;
}

static bool is_value(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
			return false;
	return true;
}

int http_slot_check(const struct http_call *c, struct err *err)
{
	struct str method = str_from(c->method);

	if (!is_token(method) || method.n > METHOD_MAX)
		return err_set(err, ERR_INVALID, "the method is not an HTTP method");
	for (size_t i = 0; i < c->nheaders; i++) {
		const struct http_header *h = &c->headers[i];
		if (!is_token(h->name) || !is_value(h->value))
			return err_set(err, ERR_INVALID, "header %zu has a byte that is not allowed", i + 1);
		if (str_eq_nocase(h->name, STR("content-length")) || str_eq_nocase(h->name, STR("transfer-encoding")))
			return err_set(err, ERR_INVALID, "header %zu is made by the client itself", i + 1);
	}
	return c->aws_sigv4 ? http_sigv4_check(c, err) : 0;
}

static void slist_put(struct curl_slist **at, char **text, struct str name, const char *between, struct str value)
{
	struct curl_slist *node = (*at)++;
	size_t n = strlen(between);

	node->data = *text;
	node->next = *at;
	memcpy(*text, name.p, name.n);
	memcpy(*text + name.n, between, n);
	if (value.n)
		memcpy(*text + name.n + n, value.p, value.n);
	*text += name.n + n + value.n;
	*(*text)++ = 0;
}

/* curl's list of header lines in the slot's own block: nodes first, then their text. */
static struct curl_slist *write_headers(struct http_slot *s, const struct http_call *c)
{
	struct http_header sign[HTTP_SIGV4_HEADERS];
	size_t nsign = c->aws_sigv4 ? HTTP_SIGV4_HEADERS : 0;
	size_t nodes = (c->nheaders + nsign + OWN_HEADERS) * sizeof(struct curl_slist), need = nodes + 64;
	struct curl_slist *at;
	struct buf signature;
	char *text;

	buf_init(&signature, 1 << 16);
	if (nsign)
		http_sigv4_sign(c, clock_wall_us(), &signature, sign);
	for (size_t i = 0; i < nsign; i++)
		need += sign[i].name.n + sign[i].value.n + 3;
	for (size_t i = 0; i < c->nheaders; i++)
		need += c->headers[i].name.n + c->headers[i].value.n + 3;
	if (need > s->headers_cap) {
		free(s->headers);
		s->headers = malloc(need);
		if (!s->headers)
			abort();
		s->headers_cap = need;
	}
	at = s->headers;
	text = (char *)s->headers + nodes;
	slist_put(&at, &text, STR("Expect"), ":", (struct str){ NULL, 0 });
	if (!http_count(c->headers, c->nheaders, "content-type"))
		slist_put(&at, &text, STR("Content-Type"), ":", (struct str){ NULL, 0 });
	for (size_t i = 0; i < c->nheaders; i++)
		slist_put(&at, &text, c->headers[i].name, c->headers[i].value.n ? ": " : ";", c->headers[i].value);
	for (size_t i = 0; i < nsign; i++)
		slist_put(&at, &text, sign[i].name, ": ", sign[i].value);
	(at - 1)->next = NULL;
	buf_done(&signature);
	return s->headers;
}

static void set_method(struct http_slot *s, const struct http_call *c)
{
	const char *curls_own = "POST";

	if (strcmp(c->method, "HEAD") == 0 && c->body.n == 0) {
		curl_easy_setopt(s->easy, CURLOPT_NOBODY, 1L);
		curls_own = "HEAD";
	} else if (c->body.n == 0 && strcmp(c->method, "GET") != 0 && strcmp(c->method, "DELETE") != 0) {
		curl_easy_setopt(s->easy, CURLOPT_POST, 1L);
		curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)0);
		curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, "");
	} else if (c->body.n == 0) {
		curl_easy_setopt(s->easy, CURLOPT_HTTPGET, 1L);
		curls_own = "GET";
	} else {
		curl_easy_setopt(s->easy, CURLOPT_POST, 1L);
		curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->body.n);
		curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, c->body.p);
	}
	bool custom = strcmp(c->method, curls_own) != 0;
	if (custom || s->custom)
		curl_easy_setopt(s->easy, CURLOPT_CUSTOMREQUEST, custom ? c->method : NULL);
	s->custom = custom;
}

void http_slot_fill(struct http_slot *s, struct http_call *c)
{
	uint32_t connect_ms = c->connect_ms ? c->connect_ms : 5000;

	s->call = c;
	s->refused = false;
	s->error_text[0] = 0;
	curl_easy_setopt(s->easy, CURLOPT_URL, c->url);
	set_method(s, c);
	curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, write_headers(s, c));
	if (c->host->addrs) {
		s->addrs = c->host->addrs;
		s->addrs->refs++;
		curl_easy_setopt(s->easy, CURLOPT_RESOLVE, &s->addrs->node);
	}
	if (connect_ms != s->connect_ms) {
		/* Ours fires first; curl's is for the connection that it makes anew when a kept one turns out to be dead. */
		curl_easy_setopt(s->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms + 100);
		s->connect_ms = connect_ms;
	}
	if (c->https != s->https) {
		/* Only TLS can say that HTTP/2 is spoken; without it nobody should wait to learn that. */
		curl_easy_setopt(s->easy, CURLOPT_HTTP_VERSION,
		                 c->https ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
		curl_easy_setopt(s->easy, CURLOPT_PIPEWAIT, c->https ? 1L : 0L);
		s->https = c->https;
	}
}

bool http_slot_sent(const struct http_slot *s)
{
	curl_off_t n = 0;

	if (!s->call->connected)
		return false;
	if (s->call->sent_once)
		return true;
	curl_easy_getinfo(s->easy, CURLINFO_SIZE_UPLOAD_T, &n);
	return (size_t)n >= s->call->body.n;
}

int http_slot_judge(struct http_slot *s, CURLcode code)
{
	struct http_call *c = s->call;
	const char *text = s->error_text[0] ? s->error_text : curl_easy_strerror(code);
	enum err_code meaning = ERR_NETWORK;

	if (c->abort_rc)
		return c->abort_rc;
	if (code == CURLE_OK && c->head_done)
		return 0;
	if (code == CURLE_OK) /* to curl, a head that the peer cut is an answer */
		text = "the answer's head was cut";
	if (c->head_done) {
		meaning = ERR_STREAM_CUT;
	} else if (s->refused) {
		meaning = ERR_ADDRESS_REFUSED;
		text = "the address is refused";
	} else if (code == CURLE_OPERATION_TIMEDOUT) {
		meaning = ERR_TIMEOUT;
		c->timeout = HTTP_TIMEOUT_CONNECT;
	} else if (http_slot_sent(s)) {
		if (c->sent_once)
			text = "the kept connection broke before an answer";
		/* curl's own limit of one header line shows as lack of memory. */
		meaning = code == CURLE_OUT_OF_MEMORY ? ERR_TOO_LARGE : ERR_OUTCOME_UNKNOWN;
	}
	for (char *p = s->error_text; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	return err_set(&c->err, meaning, "%s: %s", c->host->name, text);
}
