/* SPDX-License-Identifier: Apache-2.0 */
/* Targets, tiers and rates of the configuration: what the records of the providers complete, the limits, and each mistake by its path. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/conf.h"
#include "common/provider_record.h"
#include "common/request_facts.h"
#include "tests/lib/confs.h"

static void test_conf_targets_have_every_member(void **state UNUSED)
{
	struct conf *c = confs_good("{\"targets\":{\"a\":{\"provider\":\"anthropic\",\"model\":\"m\",\"api_key\":\"k\",\"place\":\"eu\",\"prompt_cache\":false,"
	                            "\"price\":{\"input\":\"3\",\"cached_input\":\"0.3\",\"cache_write\":\"3.75\",\"output\":\"15\"},"
	                            "\"limits\":{\"requests\":500,\"tokens\":200000,\"input_tokens\":\"150000\",\"output_tokens\":50000,\"concurrency\":50,\"headroom\":0.9},"
	                            "\"context_tokens\":200000,\"max_output_tokens\":8192,\"can\":[\"audio\"],\"cannot\":[\"images\",\"image_urls\"]}}}");
	const struct conf_target *t = &c->targets[0];
	assert_ptr_equal(t->record, provider_record_find(STR("anthropic")));
	assert_true(str_eq_z(t->base_url, "https://api.anthropic.com/v1") && str_eq_z(t->place, "eu"));
	assert_int_equal(t->price.cache_write, INT64_C(3750000000));
	assert_int_equal(t->limits.requests, 500);
	assert_int_equal(t->limits.tokens, 200000);
	assert_int_equal(t->limits.input_tokens, 150000);
	assert_int_equal(t->limits.output_tokens, 50000);
	assert_int_equal(t->limits.concurrency, 50);
	assert_int_equal(t->headroom_permille, 900);
	assert_int_equal(t->context_tokens, 200000);
	assert_int_equal(t->max_output_tokens, 8192);
	assert_int_equal(t->can, (t->record->can | NEED_AUDIO) & ~(uint32_t)(NEED_IMAGES | NEED_IMAGE_URLS));
	assert_false(t->prompt_cache);
	conf_unref(c);
}

static void test_conf_targets_without_members_have_the_defaults(void **state UNUSED)
{
	struct conf *c = confs_good("{\"targets\":{\"a\":{\"provider\":\"openai\",\"model\":\"m\"}},"
	                            "\"models\":{\"*\":{\"provider\":\"groq\",\"limits\":{\"requests\":30}}}}");
	const struct conf_target *t = &c->targets[0];
	assert_true(str_eq_z(t->base_url, "https://api.openai.com/v1"));
	assert_int_equal(t->can, t->record->can);
	assert_int_equal(t->headroom_permille, 800);
	assert_int_equal(t->limits.requests, 0);
	assert_int_equal(t->price.cache_write, -1);
	assert_true(t->prompt_cache && t->stream);
	assert_int_equal(t->context_tokens, 0);
	assert_true(str_eq_z(c->any_model->base_url, "https://api.groq.com/openai/v1"));
	assert_int_equal(c->any_model->limits.requests, 30);
	conf_unref(c);
}

static void test_conf_bedrock_is_found_by_its_region(void **state UNUSED)
{
	struct conf *c = confs_good("{\"targets\":{"
	                            "\"pair\":{\"provider\":\"bedrock\",\"model\":\"m\",\"region\":\"eu-west-1\",\"access_key\":\"AK\",\"secret_key\":\"SK\",\"session_token\":\"T\"},"
	                            "\"bearer\":{\"provider\":\"bedrock\",\"model\":\"m\",\"region\":\"eu-west-1\",\"api_key\":\"AK\"},"
	                            "\"sim\":{\"provider\":\"bedrock\",\"model\":\"m\",\"base_url\":\"http://127.0.0.1:9/\",\"api_key\":\"AK\"}}}");
	assert_true(str_eq_z(c->targets[0].base_url, "https://bedrock-runtime.eu-west-1.amazonaws.com"));
	assert_true(str_eq_z(c->targets[0].secret_key, "SK") && str_eq_z(c->targets[0].session_token, "T"));
	assert_string_equal(c->targets[0].key_id, c->targets[1].key_id); /* same endpoint, same key */
	assert_true(str_eq_z(c->targets[2].base_url, "http://127.0.0.1:9"));
	conf_unref(c);
	CONFS_MISTAKES("{\"targets\":{\"a\":{\"provider\":\"bedrock\",\"model\":\"m\"}}}", "targets.a.api_key", "bedrock needs api_key, or region",
	               "targets.a.region", "missing");
	CONFS_MISTAKES("{\"targets\":{\"a\":{\"provider\":\"bedrock\",\"model\":\"m\",\"region\":\"r\",\"api_key\":\"\"}}}", "targets.a.api_key", "missing");
	CONFS_MISTAKES("{\"targets\":{\"a\":{\"provider\":\"bedrock\",\"model\":\"m\",\"base_url\":\"http://h\",\"access_key\":\"x\"}}}", "targets.a.region",
	               "missing", "targets.a.secret_key", "missing");
	CONFS_MISTAKES("{\"targets\":{\"a\":{\"provider\":\"bedrock\",\"model\":\"m\",\"region\":\"r\",\"api_key\":\"k\",\"access_key\":\"x\"}}}",
	               "targets.a.api_key", "got both");
	CONFS_MISTAKES("{\"targets\":{\"a\":{\"provider\":\"bedrock\",\"model\":\"m\",\"region\":\"r/../\",\"api_key\":\"k\"}}}", "targets.a.region",
	               "letters, digits and hyphens");
}

static void test_conf_key_id_tells_keys_and_endpoints_apart(void **state UNUSED)
{
	struct conf *c = confs_good("{\"targets\":{\"a\":{\"provider\":\"openai\",\"model\":\"m\",\"api_key\":\"k1\"},"
	                            "\"same\":{\"provider\":\"openai\",\"model\":\"other\",\"api_key\":\"k1\",\"base_url\":\"https://api.openai.com/v1/\"},"
	                            "\"key\":{\"provider\":\"openai\",\"model\":\"m\",\"api_key\":\"k2\"},"
	                            "\"url\":{\"provider\":\"openai\",\"model\":\"m\",\"api_key\":\"k1\",\"base_url\":\"https://api.openai.com/v2\"}}}");
	assert_int_equal(strspn(c->targets[0].key_id, "0123456789abcdef"), 16);
	assert_int_equal(strlen(c->targets[0].key_id), 16);
	assert_string_equal(c->targets[0].key_id, c->targets[1].key_id);
	assert_string_not_equal(c->targets[0].key_id, c->targets[2].key_id);
	assert_string_not_equal(c->targets[0].key_id, c->targets[3].key_id);
	conf_unref(c);
}

static void test_conf_mistakes_of_targets(void **state UNUSED)
{
	CONFS_MISTAKES("{\"targets\":{\"a\":{\"provider\":\"antropic\",\"model\":\"m\"}}}", "targets.a.provider",
	               "there is no provider \"antropic\"; did you mean \"anthropic\"?");
	CONFS_MISTAKES("{\"targets\":{\"a\":{\"provider\":\"vllm\",\"model\":\"m\"}}}", "targets.a.base_url", "missing");
	CONFS_MISTAKES("{\"targets\":{\"a\":{\"provider\":\"openai\",\"model\":\"m\",\"api_key\":\"sk-1\\n\"}}}", "targets.a.api_key", "control characters");
	CONFS_MISTAKES("{\"models\":{\"*\":{\"provider\":\"azure\"}}}", "models.*.base_url", "missing");
	CONFS_MISTAKES("{\"targets\":{\"a\":{\"provider\":\"openai\",\"model\":\"m\",\"api_version\":\"1\",\"region\":\"eu\"}}}", "targets.a.api_version",
	               "is for provider azure, not for openai", "targets.a.region", "is for provider bedrock");
	CONFS_MISTAKES("{\"targets\":{\"a\":{\"provider\":\"openai\",\"model\":\"m\",\"can\":[\"image\",7,\"pdf\"],\"cannot\":[\"pdf\"]}}}", "targets.a.can[0]",
	               "did you mean \"images\"?", "targets.a.can[1]", "wanted text", "targets.a.cannot", "\"can\" names, too");
	CONFS_MISTAKES("{\"targets\":{\"a\":{\"provider\":\"openai\",\"model\":\"m\",\"context_tokens\":0,\"max_output_tokens\":1.5,\"prompt_cache\":1,\"limits\":{"
	               "\"requests\":0,\"tokens\":-1,\"input_tokens\":\"many\",\"concurrency\":true,\"headroom\":0,\"request\":1}}}}",
	               "targets.a.context_tokens", "0 is out of range", "targets.a.max_output_tokens", "got a fraction", "targets.a.prompt_cache", "true or false",
	               "targets.a.limits.requests", "wanted 1 to", "targets.a.limits.tokens", "-1 is out of range", "targets.a.limits.input_tokens", "got \"many\"",
	               "targets.a.limits.concurrency", "got true", "targets.a.limits.headroom", "above 0", "targets.a.limits.request", "\"requests\"");
	CONFS_MISTAKES("{\"targets\":{\"a\":{\"provider\":\"openai\",\"model\":\"m\",\"limits\":{\"headroom\":1.01}},"
	               "\"b\":{\"provider\":\"openai\",\"model\":\"m\",\"limits\":{\"headroom\":\"0.8\"}}}}",
	               "targets.a.limits.headroom", "at most 1", "targets.b.limits.headroom", "got text");
}

static void test_conf_tiers_of_everybody(void **state UNUSED)
{
	struct conf *c = confs_good("{\"rates\":{\"global\":\"all\",\"tenants\":{\"zeta\":\"paid\",\"acme\":\"paid\",\"*\":\"free\"},\"keys\":{\"mr_1\":\"paid\"},"
	                            "\"users\":{},\"features\":{\"chat\":\"free\"}},"
	                            "\"tiers\":{\"free\":{\"requests\":60,\"tokens\":100000,\"input_tokens\":1,\"output_tokens\":2,\"concurrency\":5,\"submit\":120,"
	                            "\"max_depth\":10000},\"paid\":{},\"all\":{\"concurrency\":1000}}}");
	const struct conf_tier *free_tier = conf_tier_find(c, SCOPE_TENANT, STR("nobody"));
	assert_true(free_tier && str_eq_z(free_tier->name, "free"));
	assert_int_equal(free_tier->limits.requests, 60);
	assert_int_equal(free_tier->limits.tokens, 100000);
	assert_int_equal(free_tier->limits.input_tokens, 1);
	assert_int_equal(free_tier->limits.output_tokens, 2);
	assert_int_equal(free_tier->limits.concurrency, 5);
	assert_int_equal(free_tier->submit, 120);
	assert_int_equal(free_tier->max_depth, 10000);
	const struct conf_tier *paid = conf_tier_find(c, SCOPE_TENANT, STR("acme"));
	assert_true(paid && str_eq_z(paid->name, "paid"));
	assert_int_equal(paid->submit, 0);
	assert_ptr_equal(conf_tier_find(c, SCOPE_TENANT, STR("zeta")), paid);
	assert_ptr_equal(conf_tier_find(c, SCOPE_TENANT, STR("acm")), free_tier);
	assert_ptr_equal(conf_tier_find(c, SCOPE_KEY, STR("mr_1")), paid);
	assert_null(conf_tier_find(c, SCOPE_KEY, STR("mr_2")));
	assert_null(conf_tier_find(c, SCOPE_USER, STR("u")));
	assert_null(conf_tier_find(c, SCOPE_FEATURE, (struct str){ NULL, 0 }));
	assert_true(str_eq_z(conf_tier_find(c, SCOPE_GLOBAL, STR(""))->name, "all"));
	conf_unref(c);
}

static void test_conf_mistakes_of_tiers_and_rates(void **state UNUSED)
{
	CONFS_MISTAKES("{\"tiers\":{\"free\":{\"requests\":0,\"headroom\":0.5},\"a b\":{},\"paid\":7},"
	               "\"rates\":{\"global\":\"fre\",\"tenants\":{\"acme\":\"gold\",\"b\":1,\"\":\"free\"},\"keys\":[],\"team\":{}}}",
	               "tiers.free.requests", "out of range", "tiers.free.headroom", "not known", "tiers.\"a b\"", "no spaces", "tiers.paid",
	               "wanted an object, got a number", "rates.global", "there is no tier \"fre\"; did you mean \"free\"?", "rates.tenants.acme",
	               "there is no tier \"gold\"", "rates.tenants.b", "a tier's name, got a number", "rates.tenants", "empty", "rates.keys", "got a list",
	               "rates.team", "not known");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, confs_open, confs_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_conf_targets_have_every_member),         TEST(test_conf_targets_without_members_have_the_defaults),
		TEST(test_conf_bedrock_is_found_by_its_region),    TEST(test_conf_key_id_tells_keys_and_endpoints_apart),
		TEST(test_conf_mistakes_of_targets),               TEST(test_conf_tiers_of_everybody),
		TEST(test_conf_mistakes_of_tiers_and_rates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
