/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AWS's event stream: a frame with headers of every type is read however it is cut, what the writer makes is read back, and damage of any kind
 * ends the stream.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/crypto.h"
#include "common/err.h"
#include "worker/providers/eventstream.h"

#define LIMIT 65536

/* Read by botocore 1.43 as a messageStop event with twelve headers. */
static const char every_type[] =
	"\x00\x00\x00\xc0\x00\x00\x00\x97\xe2\x5c\x31\x55\x01t\x00\x01" "f\x01\x01" "b\x02\xff\x01s\x03\x01\x02\x01i\x04\x00\x00\x00\x05\x01l\x05"
	"\x00\x00\x00\x00\x00\x00\x00\x00\x01y\x06\x00\x02\x00\x01\x0b:event-type\x07\x00\x0bmessageStop\x01" "d\x08\x00\x00\x00\x00\x00\x00\x00\x00"
	"\x01u\x09uuuuuuuuuuuuuuuu\x0d:content-type\x07\x00\x10" "application/json\x0d:message-type\x07\x00\x05" "event"
	"{\"stopReason\":\"end_turn\"}\x89\xa6\xd2\x98";
static const struct str reference = { every_type, sizeof(every_type) - 1 };

struct seen {
	struct buf text; /* "type/name:payload;" of each event */
	int answer;      /* what on_event returns */
};

static int on_event(void *arg, const struct eventstream_event *e)
{
	struct seen *seen = arg;
	struct str name = e->event_type.n ? e->event_type : e->exception_type;
	buf_printf(&seen->text, STR_FMT "/" STR_FMT ":" STR_FMT ";", STR_ARG(e->message_type), STR_ARG(name), STR_ARG(e->payload));
	return seen->answer;
}

/* Feeds pieces of `step` bytes; what came is in seen. */
static int feed(struct seen *seen, struct str in, size_t step, bool *ret_whole)
{
	struct eventstream s;
	int rc = 0;
	eventstream_init(&s, LIMIT, on_event, seen);
	buf_init(&seen->text, 1 << 20);
	for (; rc == 0 && in.n; in = str_sub(in, step, in.n))
		rc = eventstream_feed(&s, str_sub(in, 0, step));
	assert_int_equal(eventstream_feed(&s, STR("")), rc);
	if (ret_whole)
		*ret_whole = eventstream_is_whole(&s);
	eventstream_done(&s);
	return rc;
}

static void test_eventstream_reads_headers_of_every_type_however_cut(void **state)
{
	struct buf two;
	(void)state;
	buf_init(&two, LIMIT);
	buf_add_str(&two, reference);
	buf_add_str(&two, reference);
	for (size_t step = 1; step <= two.n; step++) {
		struct seen seen = { .answer = 0 };
		bool whole;
		assert_int_equal(feed(&seen, buf_str(&two), step, &whole), 0);
		assert_true(whole);
		assert_true(str_eq_z(buf_str(&seen.text), "event/messageStop:{\"stopReason\":\"end_turn\"};event/messageStop:{\"stopReason\":\"end_turn\"};"));
		buf_done(&seen.text);
	}
	buf_done(&two);
}

static void test_eventstream_reads_what_it_writes(void **state)
{
	struct seen seen = { .answer = 0 };
	struct buf b;
	(void)state;
	buf_init(&b, LIMIT);
	assert_int_equal(eventstream_write(&b, STR("event"), STR("contentBlockDelta"), STR("{\"a\":1}")), 0);
	assert_int_equal(eventstream_write(&b, STR("exception"), STR("throttlingException"), STR("")), 0);
	assert_int_equal(feed(&seen, buf_str(&b), 5, NULL), 0);
	assert_true(str_eq_z(buf_str(&seen.text), "event/contentBlockDelta:{\"a\":1};exception/throttlingException:;"));
	buf_done(&seen.text);
	buf_done(&b);
	buf_init(&b, 20);
	assert_int_equal(eventstream_write(&b, STR("event"), STR("messageStop"), STR("{}")), -ERR_TOO_LARGE);
	buf_done(&b);
}

static void test_eventstream_cut_anywhere_is_not_whole(void **state)
{
	(void)state;
	for (size_t n = 1; n < reference.n; n++) {
		struct seen seen = { .answer = 0 };
		bool whole;
		assert_int_equal(feed(&seen, str_sub(reference, 0, n), n, &whole), 0);
		assert_false(whole);
		assert_int_equal(seen.text.n, 0);
		buf_done(&seen.text);
	}
}

static void test_eventstream_refuses_any_flipped_bit(void **state)
{
	char wrong[sizeof(every_type) - 1];
	(void)state;
	for (size_t bit = 0; bit < sizeof(wrong) * 8; bit++) {
		struct seen seen = { .answer = 0 };
		memcpy(wrong, every_type, sizeof(wrong));
		wrong[bit / 8] = (char)(wrong[bit / 8] ^ (1 << bit % 8));
		assert_int_equal(feed(&seen, (struct str){ wrong, sizeof(wrong) }, sizeof(wrong), NULL), -ERR_BAD_OUTPUT);
		assert_int_equal(seen.text.n, 0);
		buf_done(&seen.text);
	}
}

/* A frame with checksums that are right and whatever else. */
static int feed_frame(uint32_t total, uint32_t nheaders, struct str headers, struct str payload)
{
	struct seen seen = { .answer = 0 };
	struct buf b;
	buf_init(&b, LIMIT);
	buf_add_be32(&b, total);
	buf_add_be32(&b, nheaders);
	buf_add_be32(&b, crypto_crc32(buf_str(&b)));
	buf_add_str(&b, headers);
	buf_add_str(&b, payload);
	buf_add_be32(&b, crypto_crc32(buf_str(&b)));
	int rc = feed(&seen, buf_str(&b), b.n, NULL);
	buf_done(&seen.text);
	buf_done(&b);
	return rc;
}

static void test_eventstream_refuses_lengths_that_cannot_be(void **state)
{
	(void)state;
	assert_int_equal(feed_frame(18, 0, STR(""), STR("{}")), 0);
	assert_int_equal(feed_frame(15, 0, STR(""), STR("")), -ERR_BAD_OUTPUT);
	assert_int_equal(feed_frame(0, 0, STR(""), STR("")), -ERR_BAD_OUTPUT);
	assert_int_equal(feed_frame(16, 1, STR(""), STR("")), -ERR_BAD_OUTPUT);
	assert_int_equal(feed_frame(16, UINT32_MAX, STR(""), STR("")), -ERR_BAD_OUTPUT);
	assert_int_equal(feed_frame(LIMIT + 1, 0, STR(""), STR("")), -ERR_TOO_LARGE);
	assert_int_equal(feed_frame(UINT32_MAX, 0, STR(""), STR("")), -ERR_TOO_LARGE);
	assert_int_equal(feed_frame(UINT32_MAX, (128 << 10) + 1, STR(""), STR("")), -ERR_BAD_OUTPUT);
}

static void test_eventstream_refuses_headers_that_run_out(void **state)
{
	static const struct str bad[] = { STR("\x05" "abc"), STR("\x01" "a"), STR("\x01" "a\x0a"), STR("\x01" "a\x04\x00\x00"), STR("\x01" "a\x07\x00\x09" "abc"),
		                          STR("\x01" "a\x07\x00"), STR("\x00\x00"), STR("\x01" "a\x09" "0123456789abcde") };
	(void)state;
	assert_int_equal(feed_frame(16 + 6, 6, STR("\x01" "a\x07\x00\x01" "b"), STR("")), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(feed_frame((uint32_t)(16 + bad[i].n), (uint32_t)bad[i].n, bad[i], STR("")), -ERR_BAD_OUTPUT);
}

static void test_eventstream_ends_with_what_the_listener_says(void **state)
{
	struct seen seen = { .answer = -ERR_STREAM_CUT };
	struct buf b;
	bool whole;
	(void)state;
	buf_init(&b, LIMIT);
	for (int i = 0; i < 3; i++)
		assert_int_equal(eventstream_write(&b, STR("event"), STR("messageStart"), STR("{}")), 0);
	assert_int_equal(feed(&seen, buf_str(&b), b.n, &whole), -ERR_STREAM_CUT);
	assert_false(whole);
	assert_true(str_eq_z(buf_str(&seen.text), "event/messageStart:{};"));
	buf_done(&seen.text);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eventstream_reads_headers_of_every_type_however_cut),
		cmocka_unit_test(test_eventstream_reads_what_it_writes),
		cmocka_unit_test(test_eventstream_cut_anywhere_is_not_whole),
		cmocka_unit_test(test_eventstream_refuses_any_flipped_bit),
		cmocka_unit_test(test_eventstream_refuses_lengths_that_cannot_be),
		cmocka_unit_test(test_eventstream_refuses_headers_that_run_out),
		cmocka_unit_test(test_eventstream_ends_with_what_the_listener_says),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
