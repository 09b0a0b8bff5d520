/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls with an AWS signature: a server that checks it by AWS's description finds it right, also where the path has characters that are encoded (the
 * colon of Bedrock's model ids), and nothing of it stays for the next call.
 */
#include "tests/lib/httpscript.h"

#include <string.h>

#include "tests/lib/sigv4.h"

#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define USER   "AKIDEXAMPLE:" SECRET
#define SCOPE  "aws:amz:us-east-1:bedrock"
#define MODEL  "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse"

/* get-vanilla of AWS's own test suite; the second one was signed by botocore 1.43. */
static const char vanilla[] = "GET / HTTP/1.1\r\nHost:example.amazonaws.com\r\nX-Amz-Date:20150830T123600Z\r\n"
			      "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
			      "SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\r\n\r\n";
static const char by_botocore[] =
	"POST " MODEL " HTTP/1.1\r\nHost: bedrock-runtime.us-east-1.amazonaws.com\r\nContent-Type: application/json\r\n"
	"x-amz-security-token: tok/en+=\r\nX-Amz-Date: 20260102T030405Z\r\n"
	"Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/bedrock/aws4_request, "
	"SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, "
	"Signature=763c1e8f98b7d29b9555015f971036f50f3c251ddb8dc9da5414c57e04f01bbc\r\n\r\n{\"a\":1}";

static void test_http_client_check_of_signatures_knows_right_from_wrong(void **state)
{
	char wrong[sizeof(by_botocore)];

	(void)state;
	assert_true(sigv4_holds(str_from(vanilla), "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"));
	assert_true(sigv4_holds(str_from(by_botocore), SECRET));
	assert_false(sigv4_holds(str_from(by_botocore), "another"));
	memcpy(wrong, by_botocore, sizeof(wrong));
	wrong[sizeof(wrong) - 3] = '2';
	assert_false(sigv4_holds(str_from(wrong), SECRET));
	memcpy(wrong, by_botocore, sizeof(wrong));
	wrong[10] = 'x';
	assert_false(sigv4_holds(str_from(wrong), SECRET));
}

static const struct http_header headers[] = {
	{ { "Content-Type", 12 }, { "application/json", 16 } },
	{ { "Accept", 6 }, { "application/vnd.amazon.eventstream", 34 } },
	{ { "x-amz-security-token", 20 }, { "tok/en+=", 8 } },
	{ { "X-Own", 5 }, { "a, b", 4 } },
};

static struct str signed_call(struct http_call *c, const char *path)
{
	hs_call_prepare(c, path);
	c->headers = headers;
	c->nheaders = ARRAY_LEN(headers);
	c->aws_sigv4 = SCOPE;
	c->aws_user = USER;
	assert_int_equal(hs_call_run(c), 0);
	return str_from(hs.last_request);
}

static void test_http_client_signs_so_that_aws_agrees(void **state)
{
	static const char *const paths[] = { "/model/amazon.titan-text-express-v1/converse", MODEL, MODEL "-stream", "/echo",
		                             "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse" };
	struct http_call c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct str got = signed_call(&c, paths[i]), line = got, target;
		assert_true(sigv4_holds(got, SECRET));
		assert_true(str_split(&line, ' ', &target) && str_split(&line, ' ', &target));
		assert_true(str_eq_z(target, paths[i]));
		assert_true(str_has_suffix(got, STR("{\"a\":1}")));
		assert_true(str_find(got, STR("Credential=AKIDEXAMPLE/")) > 0);
		assert_true(str_find(got, STR(SECRET)) < 0);
		http_call_done(&c);
	}
}

static void test_http_client_signature_stays_with_its_call(void **state)
{
	struct http_call c;

	(void)state;
	signed_call(&c, MODEL);
	http_call_done(&c);
	assert_int_equal(hs_call_path(&c, "/echo"), 0);
	struct str got = str_from(hs.last_request);
	assert_true(str_find(got, STR("POST /echo HTTP/1.1")) == 0);
	assert_true(str_find_nocase(got, STR("authorization:")) < 0);
	assert_true(str_find_nocase(got, STR("x-amz-date")) < 0);
	http_call_done(&c);
	assert_true(sigv4_holds(signed_call(&c, MODEL), SECRET));
	http_call_done(&c);
	assert_int_equal(hs.accepted, 1);
}

static void test_http_client_signed_call_gets_the_answer_to_a_refusal(void **state)
{
	struct http_call c;

	(void)state;
	signed_call(&c, "/error");
	assert_int_equal(c.status, 429);
	hs_assert_answer(&c, "wait");
	http_call_done(&c);
	assert_int_equal(hs.requests, 1);
}

static void test_http_client_signature_needs_keys_and_scope(void **state)
{
	static const struct {
		const char *scope, *user, *path;
	} cases[] = { { SCOPE, NULL, "/ok" },          { SCOPE, "AKIDEXAMPLE", "/ok" },     { SCOPE, "AKIDEXAMPLE:", "/ok" }, { SCOPE, ":" SECRET, "/ok" },
		      { "aws:amz::bedrock", USER, "/ok" }, { "aws:amz:us-east-1", USER, "/ok" }, { SCOPE, USER, "/ok?a=b" } };
	struct http_call c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		hs_call_prepare(&c, cases[i].path);
		c.aws_sigv4 = cases[i].scope;
		c.aws_user = cases[i].user;
		assert_int_equal(http_call_start(hs.client, &c, NULL), -ERR_INVALID);
		http_call_done(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HS_TEST(check_of_signatures_knows_right_from_wrong),
		HS_TEST(signs_so_that_aws_agrees),
		HS_TEST(signature_stays_with_its_call),
		HS_TEST(signed_call_gets_the_answer_to_a_refusal),
		HS_TEST(signature_needs_keys_and_scope),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
