/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All is well: bytes are gathered until the prelude says how long the frame is, then until it is whole; its checksum holds, its headers are read, and
 * whoever listens gets it. A frame that arrives whole is read where it lies.
 *
 * The peer is hostile: lengths are looked at when the prelude is there, before anything is gathered on their word; a header that runs out of
 * its block, a type that does not exist or a checksum that is wrong ends the stream for good.
 */
#include "worker/providers/eventstream.h"

#include "common/crypto.h"
#include "common/err.h"

#define PRELUDE   12 /* two lengths and their checksum */
#define FRAME_MIN 16 /* with the checksum at the end */

enum header_type { HEADER_TRUE, HEADER_FALSE, HEADER_BYTE, HEADER_SHORT, HEADER_INT, HEADER_LONG, HEADER_BYTES, HEADER_STRING, HEADER_TIME, HEADER_UUID, HEADER_TYPES };

static uint32_t be32(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;
	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

void eventstream_init(struct eventstream *s, size_t max_bytes, int (*on_event)(void *, const struct eventstream_event *), void *arg)
{
	*s = (struct eventstream){ .max = MIN(max_bytes, EVENTSTREAM_FRAME_MAX), .on_event = on_event, .arg = arg };
	buf_init(&s->frame, MAX(s->max, PRELUDE));
}

void eventstream_done(struct eventstream *s)
{
	buf_done(&s->frame);
}

bool eventstream_is_whole(const struct eventstream *s)
{
	return s->rc == 0 && s->frame.n == 0;
}

/* The frame's length by its prelude, or a failure. */
static ssize_t frame_length(const struct eventstream *s, const char *prelude)
{
	size_t total = be32(prelude), headers = be32(prelude + 4);
	if (crypto_crc32((struct str){ prelude, 8 }) != be32(prelude + 8))
		return -ERR_BAD_OUTPUT;
	if (total < FRAME_MIN || headers > total - FRAME_MIN || headers > EVENTSTREAM_HEADERS_MAX)
		return -ERR_BAD_OUTPUT;
	return total > s->max ? -ERR_TOO_LARGE : (ssize_t)total;
}

/* Takes n bytes off the front of *from. */
static bool take_bytes(struct str *from, size_t n, struct str *ret)
{
	if (from->n < n)
		return false;
	*ret = str_sub(*from, 0, n);
	*from = str_sub(*from, n, from->n);
	return true;
}

static bool take_header(struct str *from, struct str *ret_name, struct str *ret_value, enum header_type *ret_type)
{
	static const unsigned char sizes[HEADER_TYPES] = { [HEADER_BYTE] = 1, [HEADER_SHORT] = 2, [HEADER_INT] = 4, [HEADER_LONG] = 8, [HEADER_TIME] = 8, [HEADER_UUID] = 16 };
	struct str byte, length;
	if (!take_bytes(from, 1, &byte) || !take_bytes(from, (unsigned char)byte.p[0], ret_name) || ret_name->n == 0 || !take_bytes(from, 1, &byte))
		return false;
	unsigned type = (unsigned char)byte.p[0];
	if (type >= HEADER_TYPES)
		return false;
	*ret_type = (enum header_type)type;
	if (type != HEADER_BYTES && type != HEADER_STRING)
		return take_bytes(from, sizes[type], ret_value);
	if (!take_bytes(from, 2, &length))
		return false;
	return take_bytes(from, (size_t)(unsigned char)length.p[0] << 8 | (unsigned char)length.p[1], ret_value);
}

static bool read_headers(struct str headers, struct eventstream_event *e)
{
	const struct {
		struct str name, *to;
	} known[] = { { STR(":message-type"), &e->message_type }, { STR(":event-type"), &e->event_type },       { STR(":exception-type"), &e->exception_type },
		      { STR(":error-code"), &e->error_code },     { STR(":error-message"), &e->error_message }, { STR(":content-type"), &e->content_type } };
	struct str name, value;
	enum header_type type;
	while (headers.n) {
		if (!take_header(&headers, &name, &value, &type))
			return false;
		for (size_t i = 0; i < ARRAY_LEN(known); i++)
			if (type == HEADER_STRING && str_eq(name, known[i].name))
				*known[i].to = value;
	}
	return true;
}

static int read_frame(struct eventstream *s, struct str frame)
{
	struct eventstream_event e = { .payload = { NULL, 0 } };
	size_t headers = be32(frame.p + 4), end = frame.n - 4;
	if (crypto_crc32(str_sub(frame, 0, end)) != be32(frame.p + end))
		return -ERR_BAD_OUTPUT;
	if (!read_headers(str_sub(frame, PRELUDE, headers), &e))
		return -ERR_BAD_OUTPUT;
	e.payload = str_sub(frame, PRELUDE + headers, end - PRELUDE - headers);
	int rc = s->on_event(s->arg, &e);
	return rc < 0 ? rc : 0;
}

/* Moves bytes into the unfinished frame until it has n of them. True when it has. */
static bool gather(struct eventstream *s, struct str *bytes, size_t n)
{
	size_t more = MIN(n - s->frame.n, bytes->n);
	buf_add(&s->frame, bytes->p, more);
	*bytes = str_sub(*bytes, more, bytes->n);
	return s->frame.n == n;
}

/* Takes one frame off the front of *bytes, or all that is there of it. 0 or a failure. */
static int step(struct eventstream *s, struct str *bytes)
{
	bool here = s->frame.n == 0 && bytes->n >= PRELUDE;
	if (!here && s->frame.n < PRELUDE && !gather(s, bytes, PRELUDE))
		return 0;
	ssize_t total = frame_length(s, here ? bytes->p : s->frame.p);
	if (total < 0)
		return (int)total;
	if (here && bytes->n >= (size_t)total) {
		struct str frame = str_sub(*bytes, 0, (size_t)total);
		*bytes = str_sub(*bytes, (size_t)total, bytes->n);
		return read_frame(s, frame);
	}
	if (!gather(s, bytes, (size_t)total))
		return 0;
	int rc = read_frame(s, buf_str(&s->frame));
	buf_clear(&s->frame);
	return rc;
}

int eventstream_feed(struct eventstream *s, struct str bytes)
{
	while (s->rc == 0 && bytes.n)
		s->rc = step(s, &bytes);
	return s->rc;
}

static void add_header(struct buf *b, struct str name, struct str value)
{
	buf_add_char(b, (char)name.n);
	buf_add_str(b, name);
	buf_add_char(b, HEADER_STRING);
	buf_add_be16(b, (uint16_t)value.n);
	buf_add_str(b, value);
}

int eventstream_write(struct buf *b, struct str type, struct str name, struct str payload)
{
	struct buf headers;
	size_t start = b->n;
	if (payload.n > EVENTSTREAM_FRAME_MAX)
		return -ERR_TOO_LARGE;
	buf_init(&headers, EVENTSTREAM_HEADERS_MAX);
	add_header(&headers, str_eq_z(type, "exception") ? STR(":exception-type") : STR(":event-type"), name);
	add_header(&headers, STR(":content-type"), STR("application/json"));
	add_header(&headers, STR(":message-type"), type);
	buf_add_be32(b, (uint32_t)(FRAME_MIN + headers.n + payload.n));
	buf_add_be32(b, (uint32_t)headers.n);
	if (!buf_failed(b))
		buf_add_be32(b, crypto_crc32(str_sub(buf_str(b), start, 8)));
	buf_add_str(b, buf_str(&headers));
	buf_add_str(b, payload);
	if (!buf_failed(b))
		buf_add_be32(b, crypto_crc32(str_sub(buf_str(b), start, b->n)));
	buf_done(&headers);
	return buf_failed(b) ? -ERR_TOO_LARGE : 0;
}
