/* SPDX-License-Identifier: Apache-2.0 */
/* A line of a batch's file and the body that orders the batch, as tables: the text, the fault that it is, and where; and what a line costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/batches/batch_line.h"
#include "api/batches/batch_order.h"
#include "common/clock.h"
#include "common/file.h"

#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]"
#define BODY     "\"body\":{\"model\":\"default\"," MESSAGES "}"
#define HEAD     "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\","
#define FILE_ID  "\"input_file_id\":\"file-01a1fbf36a6576e180e2140cdf6260dd\""
#define ORDER    "{" FILE_ID ",\"endpoint\":\"/v1/chat/completions\",\"completion_window\":\"24h\""

static struct conf *conf;
static struct netguard guard;
static int64_t now_us;

static int read_conf(void **state)
{
	(void)state;
	struct arena a;
	struct conf_mistake *mistakes;
	size_t n;
	char path[] = "/tmp/test_batch_line_XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	arena_init(&a, 1 << 20);
	assert_int_equal(
	    file_write(path, 0600,
	               STR("{\"targets\":{"
	                   "\"cheap\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://127.0.0.1:1/v1\",\"max_output_tokens\":1000,"
	                   "\"price\":{\"input\":\"1\",\"output\":\"2\"}},"
	                   "\"dear\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://127.0.0.1:1/v1\","
	                   "\"price\":{\"input\":\"10\",\"output\":\"20\"}},"
	                   "\"claude\":{\"provider\":\"anthropic\",\"model\":\"c\"},"
	                   "\"free\":{\"provider\":\"openai\",\"model\":\"m\",\"base_url\":\"http://127.0.0.1:1/v1\"}},"
	                   "\"routes\":{\"default\":{\"targets\":[\"cheap\"]},\"both\":{\"targets\":[\"cheap\",\"dear\"]}}}"),
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

static struct batch_line_rules rules_of(enum face_form form, const char *endpoint, bool capped)
{
	return (struct batch_line_rules){ { conf, &guard, now_us }, face_of(form), str_from(endpoint), 6, now_us + (int64_t)86400 * 1000000, capped };
}

static int read_line(struct arena *a, const struct batch_line_rules *rules, const char *text, struct batch_line *line, struct batch_fault *fault)
{
	int rc = batch_line_open(a, rules, str_from(text), line, fault);
	return rc < 0 ? rc : batch_line_judge(a, rules, line, fault);
}

static void test_every_fault_has_its_code_and_place(void **state)
{
	(void)state;
	static const struct {
		const char *text, *code, *param;
	} rows[] = {
		{ HEAD BODY "}", NULL, "" },
		{ "{", "invalid_json_line", "" },
		{ "[]", "invalid_json_line", "" },
		{ "{\"custom_id\":\"a\",\"custom_id\":\"b\"}", "invalid_json_line", "" },
		{ "{\"method\":\"POST\",\"url\":\"/v1/chat/completions\"," BODY "}", "missing_required_parameter", "custom_id" },
		{ "{\"custom_id\":7}", "invalid_request", "custom_id" },
		{ "{\"custom_id\":\"\"}", "invalid_request", "custom_id" },
		{ "{\"custom_id\":\"a\",\"url\":\"/v1/chat/completions\"," BODY "}", "missing_required_parameter", "method" },
		{ "{\"custom_id\":\"a\",\"method\":\"GET\"}", "invalid_method", "method" },
		{ "{\"custom_id\":\"a\",\"method\":1}", "invalid_method", "method" },
		{ "{\"custom_id\":\"a\",\"method\":\"POST\"," BODY "}", "missing_required_parameter", "url" },
		{ "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/files\"}", "invalid_url", "url" },
		{ "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"https://api.openai.com/v1/chat/completions\"}", "invalid_url", "url" },
		{ "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/embeddings\"}", "url_mismatch", "url" },
		{ "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/moderations\"}", "url_mismatch", "url" },
		{ "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\"}", "missing_required_parameter", "body" },
		{ HEAD "\"body\":null}", "missing_required_parameter", "body" },
		{ HEAD "\"body\":[]}", "invalid_request", "body" },
		{ HEAD "\"body\":{" MESSAGES "}}", "invalid_request", "body.model" },
		{ HEAD "\"body\":{\"model\":\"nobody\"," MESSAGES "}}", "model_not_found", "body.model" },
		{ HEAD "\"body\":{\"model\":\"default\"}}", "invalid_request", "body.messages" },
		{ HEAD "\"body\":{\"model\":\"default\",\"messages\":[{\"role\":\"boss\"}]}}", "invalid_request", "body.messages[0].role" },
		{ HEAD "\"body\":{\"model\":\"default\",\"stream\":true," MESSAGES "}}", "invalid_request", "body.stream" },
		{ HEAD "\"body\":{\"model\":\"default\",\"millrace\":{\"priority\":10}," MESSAGES "}}", "invalid_request", "body.millrace.priority" },
		{ HEAD "\"body\":{\"model\":\"default\",\"millrace\":{\"route\":\"x\"}," MESSAGES "}}", "invalid_request", "body.millrace.route" },
		{ HEAD "\"body\":{\"model\":\"default\",\"millrace\":{\"run_at\":\"2026-06-03T00:00:00Z\"}," MESSAGES "}}", "invalid_request",
		  "body.millrace.run_at" },
		{ HEAD "\"body\":{\"model\":\"default\",\"metadata\":7," MESSAGES "}}", "invalid_request", "body.metadata" },
		{ HEAD "\"body\":{\"model\":\"claude\",\"logit_bias\":{\"1\":1}," MESSAGES "}}", "invalid_request", "body.logit_bias" },
	};
	const struct batch_line_rules rules = rules_of(FORM_CHAT, "/v1/chat/completions", false);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct arena a;
		struct batch_line line;
		struct batch_fault fault;
		arena_init(&a, 1 << 20);
		int rc = read_line(&a, &rules, rows[i].text, &line, &fault);
		if ((rc < 0) != (rows[i].code != NULL))
			fail_msg("%s: %d, %s", rows[i].text, rc, fault.err.text);
		if (rows[i].code) {
			if (strcmp(fault.code, rows[i].code) != 0 || strncmp(fault.err.param, rows[i].param, strlen(rows[i].param)) != 0)
				fail_msg("%s: %s at %s: %s", rows[i].text, fault.code, fault.err.param, fault.err.text);
			assert_true(fault.err.text[0]);
		}
		batch_line_done(&line);
		arena_done(&a);
	}
}

static void test_a_line_becomes_a_job(void **state)
{
	(void)state;
	const struct batch_line_rules rules = rules_of(FORM_CHAT, "/v1/chat/completions", false);
	struct arena a;
	struct batch_line line;
	struct batch_fault fault;
	arena_init(&a, 1 << 20);
	assert_int_equal(read_line(&a, &rules,
	                           HEAD "\"body\":{\"model\":\"default\",\"max_tokens\":50,\"metadata\":{\"k\":\"v\"},\"user\":\"u\"," MESSAGES
	                                ",\"millrace\":{\"max_attempts\":2}}}",
	                           &line, &fault),
	                 0);
	assert_true(str_eq(line.custom_id, STR("a")) && str_eq(line.s.custom_id, STR("a")));
	assert_int_equal(line.s.priority, 6);
	assert_int_equal(line.s.max_attempts, 2);
	assert_int_equal(line.s.form, FORM_CHAT);
	assert_true(line.s.expires_at_us == rules.expires_at_us);
	assert_true(str_eq(line.s.route, STR("default")) && str_eq(line.s.user, STR("u")));
	assert_true(str_eq(line.s.metadata, STR("{\"k\":\"v\"}")));
	_cleanup_(json_drop) json_t *stored = json_parse(line.s.body, NULL);
	assert_non_null(stored);
	assert_true(str_eq(json_str(stored, "route"), STR("default")));
	assert_int_equal(json_i64(json_get(stored, "request"), "max_tokens", 0), 50);
	batch_line_done(&line);
	assert_int_equal(read_line(&a, &rules, HEAD "\"body\":{\"model\":\"default\"," MESSAGES ",\"millrace\":{\"priority\":1,\"expires_at\":"
	                                           "\"2026-06-01T01:00:00Z\"}}}",
	                           &line, &fault),
	                 0);
	assert_int_equal(line.s.priority, 1);
	assert_true(line.s.expires_at_us == now_us + (int64_t)3600 * 1000000);
	batch_line_done(&line);
	arena_done(&a);
}

static void reckon(const char *text, enum face_form form, const char *endpoint, bool capped, struct batch_cost *ret, int *ret_inputs, const char *want_code)
{
	const struct batch_line_rules rules = rules_of(form, endpoint, capped);
	struct arena a;
	struct batch_line line;
	struct batch_fault fault;
	arena_init(&a, 1 << 20);
	int rc = read_line(&a, &rules, text, &line, &fault);
	if (want_code)
		assert_string_equal(fault.code, want_code);
	else
		assert_int_equal(rc, 0);
	*ret = line.cost;
	*ret_inputs = line.inputs;
	batch_line_done(&line);
	arena_done(&a);
}

/* "hello" is 5 bytes: 2 tokens and 4 for the message, or 5 and 4 at most, and a tenth on top. */
static void test_what_a_line_costs(void **state)
{
	(void)state;
	struct batch_cost c;
	int inputs;
	reckon(HEAD "\"body\":{\"model\":\"default\",\"max_tokens\":100," MESSAGES "}}", FORM_CHAT, "/v1/chat/completions", true, &c, &inputs, NULL);
	assert_int_equal(c.input_tokens, 7);
	assert_int_equal(c.estimate_nanousd, 7 * 1000 + 100 * 2000);
	assert_int_equal(c.call_nanousd, 10 * 1000 + 100 * 2000);
	reckon(HEAD "\"body\":{\"model\":\"default\",\"n\":3," MESSAGES "}}", FORM_CHAT, "/v1/chat/completions", true, &c, &inputs, NULL);
	assert_int_equal(c.estimate_nanousd, 7 * 1000 + 3 * ESTIMATE_OUTPUT * 2000);
	assert_int_equal(c.call_nanousd, 10 * 1000 + 3 * 1000 * 2000); /* the target's longest answers */
	reckon(HEAD "\"body\":{\"model\":\"both\",\"max_tokens\":100," MESSAGES "}}", FORM_CHAT, "/v1/chat/completions", true, &c, &inputs, NULL);
	assert_int_equal(c.estimate_nanousd, 7 * 1000 + 100 * 2000);
	assert_int_equal(c.call_nanousd, 10 * 10000 + 100 * 20000); /* the dearest target */
	reckon(HEAD "\"body\":{\"model\":\"both\"," MESSAGES "}}", FORM_CHAT, "/v1/chat/completions", true, &c, &inputs, "cost_unknown");
	reckon(HEAD "\"body\":{\"model\":\"free\",\"max_tokens\":1," MESSAGES "}}", FORM_CHAT, "/v1/chat/completions", true, &c, &inputs, "cost_unknown");
	reckon(HEAD "\"body\":{\"model\":\"free\",\"max_tokens\":1," MESSAGES "}}", FORM_CHAT, "/v1/chat/completions", false, &c, &inputs, NULL);
	assert_int_equal(c.estimate_nanousd, -1);
	reckon("{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/embeddings\",\"body\":{\"model\":\"both\",\"input\":[\"hello\",\"hello\"]}}",
	       FORM_EMBEDDINGS, "/v1/embeddings", true, &c, &inputs, NULL);
	assert_int_equal(inputs, 2);
	assert_int_equal(c.estimate_nanousd, c.input_tokens * 1000);
	assert_int_equal(c.call_nanousd, 11 * 10000);
}

static void test_faults_are_written_as_openai_lists_them(void **state)
{
	(void)state;
	struct batch_fault f = { .code = "invalid_url" };
	struct buf b;
	buf_init(&b, 4096);
	err_set_at(&f.err, ERR_INVALID, "url", "no \"such\" URL");
	batch_fault_write(&b, &f, 12);
	f.err.param[0] = '\0';
	batch_fault_write(&b, &f, 0);
	buf_add_char(&b, '\0');
	assert_string_equal(b.p, "{\"code\":\"invalid_url\",\"message\":\"no \\\"such\\\" URL\",\"param\":\"url\",\"line\":12}"
	                         "{\"code\":\"invalid_url\",\"message\":\"no \\\"such\\\" URL\",\"param\":null,\"line\":null}");
	buf_done(&b);
}

static void test_orders(void **state)
{
	(void)state;
	static const struct {
		const char *text, *param;
		enum err_code code;
	} rows[] = {
		{ ORDER "}", "", ERR_OK },
		{ ORDER ",\"metadata\":null,\"output_expires_after\":null,\"millrace\":null}", "", ERR_OK },
		{ "[]", "", ERR_WRONG_TYPE },
		{ "{" FILE_ID "}", "/endpoint", ERR_MISSING_FIELD },
		{ "{\"endpoint\":\"/v1/embeddings\",\"completion_window\":\"24h\"}", "/input_file_id", ERR_MISSING_FIELD },
		{ "{" FILE_ID ",\"endpoint\":\"/v1/embeddings\"}", "/completion_window", ERR_MISSING_FIELD },
		{ "{\"input_file_id\":7}", "/input_file_id", ERR_WRONG_TYPE },
		{ "{\"input_file_id\":\"file_1\"}", "/input_file_id", ERR_NOT_FOUND },
		{ "{\"endpoint\":\"/v1/videos\"}", "/endpoint", ERR_OUT_OF_RANGE },
		{ "{\"endpoint\":\"/v1/files\"}", "/endpoint", ERR_OUT_OF_RANGE },
		{ "{\"completion_window\":\"24\"}", "/completion_window", ERR_OUT_OF_RANGE },
		{ "{\"completion_window\":\"31d\"}", "/completion_window", ERR_OUT_OF_RANGE },
		{ "{\"completion_window\":\"1s\"}", "/completion_window", ERR_OUT_OF_RANGE },
		{ "{\"completion_window\":24}", "/completion_window", ERR_WRONG_TYPE },
		{ ORDER ",\"metadata\":{\"a\":1}}", "/metadata", ERR_WRONG_TYPE },
		{ ORDER ",\"metadata\":[]}", "/metadata", ERR_WRONG_TYPE },
		{ ORDER ",\"output_expires_after\":{\"anchor\":\"created_at\"}}", "/output_expires_after/seconds", ERR_MISSING_FIELD },
		{ ORDER ",\"output_expires_after\":{\"seconds\":3600}}", "/output_expires_after/anchor", ERR_MISSING_FIELD },
		{ ORDER ",\"output_expires_after\":{\"anchor\":\"x\",\"seconds\":3600}}", "/output_expires_after/anchor", ERR_OUT_OF_RANGE },
		{ ORDER ",\"output_expires_after\":{\"anchor\":\"created_at\",\"seconds\":3599}}", "/output_expires_after/seconds", ERR_OUT_OF_RANGE },
		{ ORDER ",\"millrace\":{\"priority\":10}}", "/millrace/priority", ERR_OUT_OF_RANGE },
		{ ORDER ",\"millrace\":{\"max_cost_usd\":12.5}}", "/millrace/max_cost_usd", ERR_WRONG_TYPE },
		{ ORDER ",\"millrace\":{\"max_cost_usd\":\"0\"}}", "/millrace/max_cost_usd", ERR_OUT_OF_RANGE },
		{ ORDER ",\"millrace\":{\"max_cost_usd\":\"-1\"}}", "/millrace/max_cost_usd", ERR_OUT_OF_RANGE },
		{ ORDER ",\"millrace\":{\"dry_run\":1}}", "/millrace/dry_run", ERR_WRONG_TYPE },
		{ ORDER ",\"millrace\":{\"webhook\":{\"url\":\"http://10.0.0.1/\"}}}", "/millrace/webhook/url", ERR_ADDRESS_REFUSED },
		{ ORDER ",\"millrace\":{\"what\":1}}", "/millrace/what", ERR_UNKNOWN_FIELD },
		{ ORDER ",\"what\":1}", "/what", ERR_UNKNOWN_FIELD },
	};
	const struct submission_rules rules = { conf, &guard, now_us };
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct arena a;
		struct batch_order o;
		struct err err = { 0 };
		_cleanup_(json_drop) json_t *v = json_parse(str_from(rows[i].text), NULL);
		arena_init(&a, 1 << 20);
		assert_non_null(v);
		int rc = batch_order_read(&a, &rules, v, &o, &err);
		if (rc != -(int)rows[i].code || strcmp(err.param, rows[i].param) != 0)
			fail_msg("%s: %d at %s: %s", rows[i].text, rc, err.param, err.text);
		arena_done(&a);
	}
}

static void test_an_order_is_read(void **state)
{
	(void)state;
	const struct submission_rules rules = { conf, &guard, now_us };
	struct arena a;
	struct batch_order o;
	struct err err = { 0 };
	arena_init(&a, 1 << 20);
	_cleanup_(json_drop) json_t *v =
	    json_parse(STR("{" FILE_ID ",\"endpoint\":\"/v1/embeddings\",\"completion_window\":\"90m\",\"metadata\":{\"a\":\"b\"},"
	                   "\"output_expires_after\":{\"anchor\":\"created_at\",\"seconds\":7200},"
	                   "\"millrace\":{\"priority\":2,\"max_cost_usd\":\"12.50\",\"dry_run\":true,\"webhook\":{\"url\":\"https://example.com/h\"}}}"),
	               NULL);
	assert_true(batch_order_is(v));
	assert_int_equal(batch_order_read(&a, &rules, v, &o, &err), 0);
	assert_int_equal(o.form, FORM_EMBEDDINGS);
	assert_int_equal(o.window_ms, 5400000);
	assert_true(str_eq(o.completion_window, STR("90m")) && str_eq(o.metadata, STR("{\"a\":\"b\"}")));
	assert_int_equal(o.output_expires_s, 7200);
	assert_int_equal(o.priority, 2);
	assert_int_equal(o.max_cost_nanousd, 12500000000);
	assert_true(o.dry_run && str_eq(o.webhook_url, STR("https://example.com/h")));
	_cleanup_(json_drop) json_t *native = json_parse(STR("{\"jobs\":[]}"), NULL);
	assert_false(batch_order_is(native));
	arena_done(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_fault_has_its_code_and_place),
		cmocka_unit_test(test_a_line_becomes_a_job),
		cmocka_unit_test(test_what_a_line_costs),
		cmocka_unit_test(test_faults_are_written_as_openai_lists_them),
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_an_order_is_read),
	};
	return cmocka_run_group_tests(tests, read_conf, drop_conf);
}
