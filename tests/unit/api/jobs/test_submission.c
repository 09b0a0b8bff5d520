/* SPDX-License-Identifier: Apache-2.0 */
/* What a job body may be, as a table: the text, the error it gives, and where. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/jobs/submission.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/file.h"

#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define REQUEST  "\"request\":{" MESSAGES "}"
#define ROUTE    "\"route\":\"default\","

static struct conf *conf;
static struct netguard guard;
static int64_t now_us;

static int read_conf(void **state)
{
	(void)state;
	struct arena a;
	struct conf_mistake *mistakes;
	size_t n;
	char path[] = "/tmp/test_submission_XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	arena_init(&a, 1 << 20);
	assert_int_equal(
	    file_write(path, 0600,
	               STR("{\"targets\":{\"fast\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://"
	                   "127.0.0.1:1/v1\"},\"claude\":{\"provider\":\"anthropic\",\"model\":\"c\"}},"
	                   "\"routes\":{\"default\":{\"targets\":[\"fast\"]}},"
	                   "\"models\":{\"*\":{\"provider\":\"openai\",\"base_url\":\"http://127.0.0.1:1/v1\"}}}"),
	               NULL),
	    0);
	assert_int_equal(conf_load(path, &a, &conf, &mistakes, &n), 0);
	unlink(path);
	arena_done(&a);
	netguard_init(&guard);
	assert_int_equal(clock_parse_rfc3339(STR("2026-06-01T00:00:00Z"), &now_us), 0);
	return 0;
}

static int drop_conf(void **state)
{
	(void)state;
	conf_unref(conf);
	return 0;
}

static int read_body(struct arena *a, struct str body, struct submission *s, struct err *err)
{
	const struct submission_rules rules = { conf, &guard, now_us };
	memset(err, 0, sizeof(*err));
	return submission_read(a, &rules, body, s, err);
}

static void test_submission_reads_all_fields(void **state)
{
	(void)state;
	struct arena a;
	struct submission s = { 0 };
	struct err err;
	arena_init(&a, 1 << 20);
	struct str body =
	    STR("{" ROUTE REQUEST
	        ",\"priority\":2,\"max_attempts\":7,\"user\":\"alice\",\"metadata\":{\"b\":\"1\",\"a\":\"ü\"},"
	        "\"run_at\":\"2026-06-01T01:00:00+01:00\",\"expires_at\":\"2026-06-02T00:00:00Z\",\"cache\":{\"mode\":"
	        "\"off\"},"
	        "\"webhook\":{\"url\":\"https://example.com/hook\"}}");
	assert_int_equal(read_body(&a, body, &s, &err), 0);
	assert_int_equal(s.kind, SUBMISSION_CHAT);
	assert_int_equal(s.priority, 2);
	assert_int_equal(s.max_attempts, 7);
	assert_true(str_eq(s.user, STR("alice")));
	assert_true(str_eq(s.metadata, STR("{\"b\":\"1\",\"a\":\"ü\"}")));
	assert_true(s.run_at_us == now_us);
	assert_true(s.expires_at_us == now_us + INT64_C(86400000000));
	assert_true(str_eq(s.webhook_url, STR("https://example.com/hook")));
	assert_true(str_eq(s.lane, STR("default")));
	assert_ptr_equal(s.body.p, body.p);
	arena_done(&a);
}

static void test_submission_has_defaults(void **state)
{
	(void)state;
	struct arena a;
	struct submission s = { 0 };
	struct err err;
	arena_init(&a, 1 << 20);
	assert_int_equal(read_body(&a, STR("{" REQUEST "}"), &s, &err), 0);
	assert_int_equal(s.priority, 4);
	assert_int_equal(s.max_attempts, 5);
	assert_true(str_eq(s.route, STR("default")));
	assert_true(s.run_at_us == 0 && s.expires_at_us == 0);
	assert_null(s.user.p);
	assert_null(s.metadata.p);
	assert_null(s.webhook_url.p);
	arena_done(&a);
}

static void test_submission_bare_models_share_a_lane(void **state)
{
	(void)state;
	struct arena a;
	struct submission s = { 0 };
	struct err err;
	arena_init(&a, 1 << 20);
	assert_int_equal(read_body(&a, STR("{\"route\":\"gpt-4o\"," REQUEST "}"), &s, &err), 0);
	assert_true(str_eq(s.route, STR("gpt-4o")));
	assert_true(str_eq(s.lane, STR("*")));
	assert_int_equal(read_body(&a, STR("{\"route\":\"fast\"," REQUEST "}"), &s, &err), 0);
	assert_true(str_eq(s.lane, STR("fast")));
	arena_done(&a);
}

static const struct {
	const char *body;
	enum err_code code; /* ERR_OK: it is taken */
	const char *param;
} cases[] = {
	{ "", ERR_BAD_JSON, "" },
	{ "{", ERR_BAD_JSON, "" },
	{ "{\"route\":\"default\",\"route\":\"default\"," REQUEST "}", ERR_BAD_JSON, "" },
	{ "[]", ERR_WRONG_TYPE, "" },
	{ "{}", ERR_MISSING_FIELD, "/request" },
	{ "{" ROUTE "\"request\":1}", ERR_WRONG_TYPE, "/request" },
	{ "{" ROUTE "\"request\":{}}", ERR_MISSING_FIELD, "/request/messages" },
	{ "{" ROUTE "\"request\":{\"messages\":{}}}", ERR_WRONG_TYPE, "/request/messages" },
	{ "{" ROUTE "\"request\":{\"messages\":[]}}", ERR_OUT_OF_RANGE, "/request/messages" },
	{ "{" ROUTE "\"request\":{\"messages\":[1]}}", ERR_WRONG_TYPE, "/request/messages/0" },
	{ "{" ROUTE "\"request\":{\"messages\":[{\"content\":\"x\"}]}}", ERR_MISSING_FIELD,
	  "/request/messages/0/role" },
	{ "{" ROUTE "\"request\":{\"messages\":[{\"role\":1,\"content\":\"x\"}]}}", ERR_WRONG_TYPE,
	  "/request/messages/0/role" },
	{ "{" ROUTE "\"request\":{\"messages\":[{\"role\":\"boss\",\"content\":\"x\"}]}}", ERR_OUT_OF_RANGE,
	  "/request/messages/0/role" },
	{ "{" ROUTE "\"request\":{\"messages\":[{\"role\":\"user\"}]}}", ERR_MISSING_FIELD,
	  "/request/messages/0/content" },
	{ "{" ROUTE "\"request\":{\"messages\":[{\"role\":\"user\",\"content\":1}]}}", ERR_WRONG_TYPE,
	  "/request/messages/0/content" },
	{ "{" ROUTE "\"request\":{\"messages\":[{\"role\":\"user\",\"content\":[]}]}}", ERR_OUT_OF_RANGE,
	  "/request/messages/0/content" },
	{ "{" ROUTE "\"request\":{\"messages\":[{\"role\":\"user\",\"content\":[{}]}]}}", ERR_MISSING_FIELD,
	  "/request/messages/0/content/0/type" },
	{ "{" ROUTE
	  "\"request\":{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}]}}",
	  ERR_OK, "" },
	{ "{" ROUTE "\"request\":{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]}]}}", ERR_OK,
	  "" },
	{ "{" ROUTE "\"request\":{" MESSAGES ",\"max_tokens\":0}}", ERR_OUT_OF_RANGE, "/request/max_tokens" },
	{ "{" ROUTE "\"request\":{" MESSAGES ",\"max_tokens\":1.5}}", ERR_WRONG_TYPE, "/request/max_tokens" },
	{ "{" ROUTE "\"request\":{" MESSAGES ",\"temperature\":3}}", ERR_OUT_OF_RANGE, "/request/temperature" },
	{ "{" ROUTE "\"request\":{" MESSAGES ",\"temperature\":0.2,\"x_unknown\":[1]}}", ERR_OK, "" },
	{ "{" ROUTE "\"request\":{" MESSAGES ",\"stream\":true}}", ERR_UNSUPPORTED, "/request/stream" },
	{ "{\"route\":\"\"," REQUEST "}", ERR_OUT_OF_RANGE, "/route" },
	{ "{\"route\":\"no such\"," REQUEST "}", ERR_UNKNOWN_ROUTE, "/route" },
	{ "{\"route\":7," REQUEST "}", ERR_WRONG_TYPE, "/route" },
	{ "{" ROUTE REQUEST ",\"nope\":1}", ERR_UNKNOWN_FIELD, "/nope" },
	{ "{" ROUTE REQUEST ",\"a/b~c\":1}", ERR_UNKNOWN_FIELD, "/a~1b~0c" },
	{ "{" ROUTE REQUEST ",\"priority\":10}", ERR_OUT_OF_RANGE, "/priority" },
	{ "{" ROUTE REQUEST ",\"priority\":-1}", ERR_OUT_OF_RANGE, "/priority" },
	{ "{" ROUTE REQUEST ",\"priority\":\"1\"}", ERR_WRONG_TYPE, "/priority" },
	{ "{" ROUTE REQUEST ",\"priority\":0}", ERR_OK, "" },
	{ "{" ROUTE REQUEST ",\"max_attempts\":21}", ERR_OUT_OF_RANGE, "/max_attempts" },
	{ "{" ROUTE REQUEST ",\"max_attempts\":0}", ERR_OUT_OF_RANGE, "/max_attempts" },
	{ "{" ROUTE REQUEST ",\"run_at\":\"tomorrow\"}", ERR_OUT_OF_RANGE, "/run_at" },
	{ "{" ROUTE REQUEST ",\"run_at\":1}", ERR_WRONG_TYPE, "/run_at" },
	{ "{" ROUTE REQUEST ",\"run_at\":null}", ERR_OK, "" },
	{ "{" ROUTE REQUEST ",\"run_at\":\"2020-01-01T00:00:00Z\"}", ERR_OK, "" },
	{ "{" ROUTE REQUEST ",\"run_at\":\"2027-01-01T00:00:00Z\"}", ERR_OUT_OF_RANGE, "/run_at" },
	{ "{" ROUTE REQUEST ",\"expires_at\":\"2026-05-31T23:59:59Z\"}", ERR_OUT_OF_RANGE, "/expires_at" },
	{ "{" ROUTE REQUEST ",\"run_at\":\"2026-06-02T00:00:00Z\",\"expires_at\":\"2026-06-01T12:00:00Z\"}",
	  ERR_OUT_OF_RANGE, "/expires_at" },
	{ "{" ROUTE REQUEST ",\"user\":\"\"}", ERR_OUT_OF_RANGE, "/user" },
	{ "{" ROUTE REQUEST ",\"user\":1}", ERR_WRONG_TYPE, "/user" },
	{ "{" ROUTE REQUEST ",\"metadata\":[]}", ERR_WRONG_TYPE, "/metadata" },
	{ "{" ROUTE REQUEST ",\"metadata\":{\"a\":1}}", ERR_WRONG_TYPE, "/metadata/a" },
	{ "{" ROUTE REQUEST ",\"metadata\":{\"\":\"x\"}}", ERR_OUT_OF_RANGE, "/metadata/" },
	{ "{" ROUTE REQUEST ",\"webhook\":\"https://example.com\"}", ERR_WRONG_TYPE, "/webhook" },
	{ "{" ROUTE REQUEST ",\"webhook\":{}}", ERR_MISSING_FIELD, "/webhook/url" },
	{ "{" ROUTE REQUEST ",\"webhook\":{\"url\":\"https://example.com\",\"x\":1}}", ERR_UNKNOWN_FIELD,
	  "/webhook/x" },
	{ "{" ROUTE REQUEST ",\"webhook\":{\"url\":\"http://127.0.0.1/\"}}", ERR_ADDRESS_REFUSED, "/webhook/url" },
	{ "{" ROUTE REQUEST ",\"cache\":{\"mode\":\"semantic\"}}", ERR_UNSUPPORTED, "/cache/mode" },
	{ "{" ROUTE REQUEST ",\"cache\":{\"mode\":\"often\"}}", ERR_OUT_OF_RANGE, "/cache/mode" },
	{ "{" ROUTE REQUEST ",\"cache\":{\"mode\":\"exact\",\"ttl\":0}}", ERR_OUT_OF_RANGE, "/cache/ttl" },
	{ "{" ROUTE REQUEST ",\"cache\":{\"age\":1}}", ERR_UNKNOWN_FIELD, "/cache/age" },
	{ "{" ROUTE REQUEST ",\"cache\":\"exact\"}", ERR_WRONG_TYPE, "/cache" },
	{ "{" ROUTE REQUEST ",\"accept_partial\":1}", ERR_WRONG_TYPE, "/accept_partial" },
	{ "{" ROUTE REQUEST ",\"prompt\":\"x@1\"}", ERR_UNSUPPORTED, "/prompt" },
	{ "{" ROUTE REQUEST ",\"variables\":{}}", ERR_UNSUPPORTED, "/variables" },
	{ "{" ROUTE REQUEST ",\"on_limit\":\"drop\"}", ERR_OUT_OF_RANGE, "/on_limit" },
	{ "{" ROUTE REQUEST ",\"on_exhausted\":7}", ERR_WRONG_TYPE, "/on_exhausted" },
	{ "{" ROUTE REQUEST ",\"on_exhausted\":\"wait\"}", ERR_OUT_OF_RANGE, "/on_exhausted" },
	{ "{\"route\":\"claude\",\"request\":{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AAAA\",\"format\":\"wav\"}}]}]}}",
	  ERR_UNSUPPORTED, "/request/messages/0/content/0" },
	{ "{\"route\":\"claude\",\"request\":{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":2}}", ERR_UNSUPPORTED, "/request/n" },
	{ "{" ROUTE "\"kind\":\"poem\"," REQUEST "}", ERR_OUT_OF_RANGE, "/kind" },
	{ "{" ROUTE "\"kind\":\"embeddings\"," REQUEST "}", ERR_MISSING_FIELD, "/request/input" },
	{ "{" ROUTE "\"request\":{\"input\":\"x\"},\"kind\":\"embeddings\"}", ERR_OK, "" },
	{ "{" ROUTE "\"kind\":\"embeddings\",\"request\":{\"input\":[\"a\",\"b\"]}}", ERR_OK, "" },
	{ "{" ROUTE "\"kind\":\"embeddings\",\"request\":{\"input\":[]}}", ERR_OUT_OF_RANGE, "/request/input" },
	{ "{" ROUTE "\"kind\":\"embeddings\",\"request\":{\"input\":[null]}}", ERR_WRONG_TYPE, "/request/input/0" },
};

/* Members of a chat request, and what is wrong with them; param NULL: nothing is. */
static const struct {
	const char *members;
	enum err_code code;
	const char *param;
} members[] = {
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":7}]}]", ERR_WRONG_TYPE, "/messages/0/content/0/type" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]", ERR_MISSING_FIELD, "/messages/0/content/0/text" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":7}]}]", ERR_WRONG_TYPE, "/messages/0/content/0/text" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\"}]}]", ERR_OK, NULL },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"refusal\"}]}]", ERR_MISSING_FIELD, "/messages/0/content/0/refusal" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"video_url\",\"video_url\":7}]}]", ERR_OK, NULL },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]", ERR_MISSING_FIELD, "/messages/0/content/0/image_url" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":7}]}]", ERR_WRONG_TYPE, "/messages/0/content/0/image_url" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}]", ERR_MISSING_FIELD, "/messages/0/content/0/image_url/url" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"\"}}]}]", ERR_OUT_OF_RANGE, "/messages/0/content/0/image_url/url" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/\",\"detail\":7}}]}]", ERR_WRONG_TYPE, "/messages/0/content/0/image_url/detail" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,!!\"}}]}]", ERR_OUT_OF_RANGE, "/messages/0/content/0/image_url/url" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,\"}}]}]", ERR_OUT_OF_RANGE, "/messages/0/content/0/image_url/url" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":\"data:image/png;base64,@\"}]}]", ERR_OUT_OF_RANGE, "/messages/0/content/0/image_url" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AA/+\\nAA_-==\"}}]}]", ERR_OK, NULL },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"file_id\":7}}]}]", ERR_WRONG_TYPE, "/messages/0/content/0/image_url/file_id" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"file\"}]}]", ERR_MISSING_FIELD, "/messages/0/content/0/file" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"file\",\"file\":{}}]}]", ERR_MISSING_FIELD, "/messages/0/content/0/file" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"file\",\"file\":{\"file_data\":\"data:application/pdf;base64,@\"}}]}]", ERR_OUT_OF_RANGE, "/messages/0/content/0/file/file_data" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"file\",\"file\":{\"file_id\":\"f\",\"filename\":7}}]}]", ERR_WRONG_TYPE, "/messages/0/content/0/file/filename" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AAAA\"}}]}]", ERR_MISSING_FIELD, "/messages/0/content/0/input_audio/format" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"@\",\"format\":\"wav\"}}]}]", ERR_OUT_OF_RANGE, "/messages/0/content/0/input_audio/data" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"name\":7}]", ERR_WRONG_TYPE, "/messages/0/name" },
	{ "\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"refusal\":7}]", ERR_WRONG_TYPE, "/messages/0/refusal" },
	{ "\"messages\":[{\"role\":\"assistant\",\"tool_calls\":7}]", ERR_WRONG_TYPE, "/messages/0/tool_calls" },
	{ "\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[7]}]", ERR_WRONG_TYPE, "/messages/0/tool_calls/0" },
	{ "\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"x\"}]}]", ERR_MISSING_FIELD, "/messages/0/tool_calls/0/function" },
	{ "\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":7,\"function\":{\"name\":\"f\"}}]}]", ERR_WRONG_TYPE, "/messages/0/tool_calls/0/id" },
	{ "\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":7}}]}]", ERR_WRONG_TYPE, "/messages/0/tool_calls/0/function/arguments" },
	{ "\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"x\",\"type\":\"custom\",\"custom\":{\"name\":\"f\",\"input\":\"x\"}}]}]", ERR_OK, NULL },
	{ "\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"x\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}]", ERR_OK, NULL },
	{ "\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]", ERR_MISSING_FIELD, "/messages/0/tool_call_id" },
	{ "\"messages\":[{\"role\":\"tool\",\"content\":\"x\",\"tool_call_id\":7}]", ERR_WRONG_TYPE, "/messages/0/tool_call_id" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":{}", ERR_WRONG_TYPE, "/tools" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[7]", ERR_WRONG_TYPE, "/tools/0" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{}]", ERR_MISSING_FIELD, "/tools/0/type" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{\"type\":\"function\"}]", ERR_MISSING_FIELD, "/tools/0/function" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"\"}}]", ERR_OUT_OF_RANGE, "/tools/0/function/name" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":7}}]", ERR_WRONG_TYPE, "/tools/0/function/parameters" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":\"x\"}}]", ERR_WRONG_TYPE, "/tools/0/function/strict" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{},\"strict\":null}},{\"type\":\"web_search\"}],\"tool_choice\":\"auto\",\"parallel_tool_calls\":false", ERR_OK, NULL },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{},\"strict\":null}},{\"type\":\"web_search\"}],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}", ERR_OK, NULL },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{},\"strict\":null}},{\"type\":\"web_search\"}],\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{}}", ERR_OK, NULL },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{},\"strict\":null}},{\"type\":\"web_search\"}],\"tool_choice\":7", ERR_WRONG_TYPE, "/tool_choice" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{},\"strict\":null}},{\"type\":\"web_search\"}],\"tool_choice\":{}", ERR_MISSING_FIELD, "/tool_choice/type" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{},\"strict\":null}},{\"type\":\"web_search\"}],\"tool_choice\":{\"type\":\"function\"}", ERR_MISSING_FIELD, "/tool_choice/function" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{},\"strict\":null}},{\"type\":\"web_search\"}],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}", ERR_OUT_OF_RANGE, "/tool_choice/function/name" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tool_choice\":\"required\",\"tools\":[]", ERR_INVALID, "/tool_choice" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tool_choice\":\"auto\"", ERR_OK, NULL },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"parallel_tool_calls\":\"x\"", ERR_WRONG_TYPE, "/parallel_tool_calls" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stop\":7", ERR_WRONG_TYPE, "/stop" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stop\":[\"a\",7]", ERR_WRONG_TYPE, "/stop/1" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stop\":null,\"seed\":null,\"logit_bias\":null,\"response_format\":null,\"modalities\":null,\"tools\":null,\"tool_choice\":null,\"logprobs\":null", ERR_OK, NULL },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"seed\":1.5", ERR_WRONG_TYPE, "/seed" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"seed\":-9223372036854775808", ERR_OK, NULL },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"logprobs\":1", ERR_WRONG_TYPE, "/logprobs" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"top_logprobs\":21", ERR_OUT_OF_RANGE, "/top_logprobs" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"logit_bias\":{\"5\":\"x\"}", ERR_WRONG_TYPE, "/logit_bias/5" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"response_format\":7", ERR_WRONG_TYPE, "/response_format" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"response_format\":{}", ERR_MISSING_FIELD, "/response_format/type" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"response_format\":{\"type\":\"json_schema\"}", ERR_MISSING_FIELD, "/response_format/json_schema" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":7}}", ERR_WRONG_TYPE, "/response_format/json_schema/name" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\",\"schema\":7}}", ERR_WRONG_TYPE, "/response_format/json_schema/schema" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"modalities\":[\"text\",7]", ERR_WRONG_TYPE, "/modalities/1" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"reasoning_effort\":7", ERR_WRONG_TYPE, "/reasoning_effort" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"audio\":7", ERR_WRONG_TYPE, "/audio" },
	{ "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"user\":7", ERR_WRONG_TYPE, "/user" },
};

static void test_submission_knows_the_types_of_members(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		struct arena a;
		struct err err = { 0 };
		arena_init(&a, 1 << 20);
		json_t *request = json_parse(arena_printf(&a, "{%s}", members[i].members), &err);
		if (!request)
			fail_msg("%s: %s", members[i].members, err.text);
		int rc = submission_check_request(&a, SUBMISSION_CHAT, request, "", &err);
		if (rc != -(int)members[i].code || strcmp(err.param, members[i].param ? members[i].param : "") != 0)
			fail_msg("%s\n  gave %d at \"%s\" (%s)", members[i].members, rc, err.param, err.text);
		json_decref(request);
		arena_done(&a);
	}
}

static void test_submission_names_the_field_that_is_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct arena a;
		struct submission s = { 0 };
		struct err err;
		arena_init(&a, 1 << 20);
		int rc = read_body(&a, str_from(cases[i].body), &s, &err);
		if (rc != -(int)cases[i].code || strcmp(err.param, cases[i].param) != 0)
			fail_msg("%s\n  gave %s at \"%s\" (%s), wanted %s at \"%s\"", cases[i].body,
			         rc ? err_code_name(rc) : "ok", err.param, err.text,
			         cases[i].code ? err_code_name((int)cases[i].code) : "ok", cases[i].param);
		arena_done(&a);
	}
}

/* A body with one string field of n characters of two bytes each. */
static int with_long(const char *before, size_t n, const char *after)
{
	struct arena a;
	struct submission s = { 0 };
	struct err err;
	struct buf b;
	arena_init(&a, 1 << 20);
	buf_init(&b, 1 << 20);
	buf_printf(&b, "{" ROUTE REQUEST ",%s", before);
	for (size_t i = 0; i < n; i++)
		buf_add_z(&b, "ü");
	buf_printf(&b, "%s}", after);
	int rc = read_body(&a, buf_str(&b), &s, &err);
	buf_done(&b);
	arena_done(&a);
	return rc;
}

static void test_submission_counts_characters_not_bytes(void **state)
{
	(void)state;
	assert_int_equal(with_long("\"user\":\"", 256, "\""), 0);
	assert_int_equal(with_long("\"user\":\"", 257, "\""), -(int)ERR_OUT_OF_RANGE);
	assert_int_equal(with_long("\"metadata\":{\"k\":\"", 512, "\"}"), 0);
	assert_int_equal(with_long("\"metadata\":{\"k\":\"", 513, "\"}"), -(int)ERR_OUT_OF_RANGE);
	assert_int_equal(with_long("\"metadata\":{\"", 64, "\":\"v\"}"), 0);
	assert_int_equal(with_long("\"metadata\":{\"", 65, "\":\"v\"}"), -(int)ERR_OUT_OF_RANGE);
}

static void test_submission_takes_16_pairs_of_metadata(void **state)
{
	(void)state;
	for (int n = 16; n <= 17; n++) {
		struct arena a;
		struct submission s = { 0 };
		struct err err;
		struct buf b;
		arena_init(&a, 1 << 20);
		buf_init(&b, 1 << 20);
		buf_add_z(&b, "{" ROUTE REQUEST ",\"metadata\":{");
		for (int i = 0; i < n; i++)
			buf_printf(&b, "%s\"k%d\":\"v\"", i ? "," : "", i);
		buf_add_z(&b, "}}");
		assert_int_equal(read_body(&a, buf_str(&b), &s, &err), n == 16 ? 0 : -(int)ERR_OUT_OF_RANGE);
		buf_done(&b);
		arena_done(&a);
	}
}

/* Every cut and many single-byte changes of a full body, in memory of exactly that size: taken or refused with a
 * reason, never anything else. */
static void test_submission_survives_damaged_bodies(void **state)
{
	(void)state;
	static const char full[] =
	    "{" ROUTE REQUEST ",\"priority\":2,\"metadata\":{\"a\":\"ü\"},\"run_at\":\"2026-06-01T01:00:00+01:00\","
	    "\"cache\":{\"mode\":\"exact\",\"ttl\":60},\"on_limit\":\"shorten\",\"on_exhausted\":\"static\",\"accept_partial\":true,\"webhook\":{\"url\":\"https://example.com/hook\"},\"user\":\"al\"}";
	static const char bytes[] = "\0\"\\{}[],:0-x\xff\xc3";
	const size_t n = sizeof(full) - 1;
	for (size_t at = 0; at < n; at++) {
		for (size_t k = 0; k < sizeof(bytes); k++) {
			struct arena a;
			struct submission s = { 0 };
			struct err err;
			bool cut = k == sizeof(bytes) - 1;
			size_t len = cut ? at : n;
			char *copy = malloc(len ? len : 1);
			assert_non_null(copy);
			memcpy(copy, full, len);
			if (!cut)
				copy[at] = bytes[k];
			arena_init(&a, 1 << 20);
			int rc = read_body(&a, (struct str){ copy, len }, &s, &err);
			assert_true(rc == 0 ? s.route.n > 0 : rc == -(int)err.code && err.text[0] != '\0');
			arena_done(&a);
			free(copy);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_submission_reads_all_fields),
		cmocka_unit_test(test_submission_has_defaults),
		cmocka_unit_test(test_submission_bare_models_share_a_lane),
		cmocka_unit_test(test_submission_names_the_field_that_is_wrong),
		cmocka_unit_test(test_submission_knows_the_types_of_members),
		cmocka_unit_test(test_submission_counts_characters_not_bytes),
		cmocka_unit_test(test_submission_takes_16_pairs_of_metadata),
		cmocka_unit_test(test_submission_survives_damaged_bodies),
	};
	return cmocka_run_group_tests(tests, read_conf, drop_conf);
}
