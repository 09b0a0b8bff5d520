/* SPDX-License-Identifier: Apache-2.0 */
/* Routes of the configuration: choices, rules, caches and ladders as they are written, the routes that are made for one target, each mistake. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/buf.h"
#include "common/conf.h"
#include "common/request_facts.h"
#include "tests/lib/confs.h"

#define T       "{\"provider\":\"openai\",\"model\":\"m\"}"
#define TARGETS "\"targets\":{\"a\":" T ",\"b\":" T ",\"c\":" T "},\"tiers\":{\"free\":{}}"
#define ROUTE(members) "{" TARGETS ",\"routes\":{\"r\":{\"targets\":[\"a\"]," members "}}}"

static void test_conf_routes_have_every_member(void **state UNUSED)
{
	struct conf *c = confs_good(
	    "{" TARGETS ",\"routes\":{\"r\":{\"targets\":[\"a\",{\"target\":\"b\",\"weight\":3}],\"choose\":\"weighted\",\"affinity\":true,"
	    "\"context_window\":[\"c\"],\"content_policy\":[\"b\",\"c\"],\"fallback_on_bad_request\":true,\"accept_partial\":true,"
	    "\"cache\":{\"mode\":\"exact\",\"ttl\":\"2h\",\"namespace\":\"shared\"},\"on_limit\":\"shorten\",\"shorten_floor\":100,"
	    "\"ladder\":[\"static\",\"stale_cache\",\"simple_model\"],\"ladder_after\":\"5s\",\"simple_model\":\"c\","
	    "\"static\":[{\"match\":\"refund money\",\"text\":\"See …\"},{\"text\":\"Later.\"}]}}}");
	const struct conf_route *r = &c->routes[0];
	assert_int_equal(r->main.ntargets, 2);
	assert_ptr_equal(r->targets, r->main.targets);
	assert_int_equal(r->ntargets, 2);
	assert_int_equal(r->main.weights[0], 1);
	assert_int_equal(r->main.weights[1], 3);
	assert_int_equal(r->main.choose, CHOOSE_WEIGHTED);
	assert_int_equal(r->context_window.ntargets, 1);
	assert_ptr_equal(r->context_window.targets[0], &c->targets[2]);
	assert_int_equal(r->context_window.weights[0], 1);
	assert_int_equal(r->content_policy.ntargets, 2);
	assert_true(r->fallback_on_bad_request && r->accept_partial && r->affinity);
	assert_int_equal(r->cache_mode, CACHE_EXACT);
	assert_int_equal(r->cache_ttl_ms, 7200000);
	assert_true(str_eq_z(r->cache_namespace, "shared"));
	assert_int_equal(r->on_limit, ON_LIMIT_SHORTEN);
	assert_int_equal(r->shorten_floor, 100);
	assert_int_equal(r->nladder, 3);
	assert_int_equal(r->ladder[0], RUNG_STATIC);
	assert_int_equal(r->ladder[1], RUNG_STALE_CACHE);
	assert_int_equal(r->ladder[2], RUNG_SIMPLE_MODEL);
	assert_int_equal(r->ladder_after_ms, 5000);
	assert_ptr_equal(r->simple_model, &c->targets[2]);
	assert_int_equal(r->nanswers, 2);
	assert_true(str_eq_z(r->answers[0].match, "refund money") && r->answers[1].match.n == 0 && str_eq_z(r->answers[1].text, "Later."));
	conf_unref(c);
}

static void assert_defaults(const struct conf_route *r)
{
	assert_int_equal(r->main.choose, CHOOSE_ORDERED);
	assert_int_equal(r->nrules, 0);
	assert_int_equal(r->context_window.ntargets, 0);
	assert_int_equal(r->content_policy.ntargets, 0);
	assert_int_equal(r->cache_mode, CACHE_OFF);
	assert_int_equal(r->cache_ttl_ms, 3600000);
	assert_int_equal(r->on_limit, ON_LIMIT_QUEUE);
	assert_int_equal(r->shorten_floor, 64);
	assert_int_equal(r->nladder, 0);
	assert_int_equal(r->ladder_after_ms, 0);
	assert_null(r->simple_model);
	assert_int_equal(r->nanswers, 0);
	assert_true(r->affinity && !r->fallback_on_bad_request && !r->accept_partial);
	assert_int_equal(r->main.ntargets, 1);
	assert_ptr_equal(r->targets, r->main.targets);
	assert_int_equal(r->main.weights[0], 1);
}

static void test_conf_made_routes_are_complete(void **state UNUSED)
{
	struct conf *c = confs_good("{" TARGETS ",\"routes\":{\"r\":{\"targets\":[\"a\"]},\"w\":{\"targets\":[\"a\"],\"choose\":\"weighted\"}},"
	                            "\"models\":{\"*\":{\"provider\":\"ollama\",\"can\":[\"audio\"],\"limits\":{\"concurrency\":4}}}}");
	assert_defaults(conf_route_find(c, confs_arena(), STR("r")));
	assert_false(conf_route_find(c, confs_arena(), STR("w"))->affinity);
	assert_defaults(conf_route_find(c, confs_arena(), STR("b")));
	const struct conf_route *any = conf_route_find(c, confs_arena(), STR("llama3:8b"));
	assert_defaults(any);
	assert_true(str_eq_z(any->targets[0]->name, "ollama/llama3:8b") && str_eq_z(any->targets[0]->model, "llama3:8b"));
	assert_true(any->targets[0]->can & NEED_AUDIO);
	assert_int_equal(any->targets[0]->limits.concurrency, 4);
	assert_string_equal(any->targets[0]->key_id, c->any_model->key_id);
	conf_unref(c);
}

static void test_conf_rules_have_every_member(void **state UNUSED)
{
	struct conf *c = confs_good(ROUTE("\"rules\":[{\"name\":\"big\",\"when\":{\"metadata\":{\"feature\":\"inv*\",\"x\":\"*\"},\"users\":[\"u1\",\"u2\"],"
	                                  "\"tiers\":[\"free\"],\"input_tokens\":{\"min\":1,\"max\":9},\"complexity\":{\"min\":50},\"needs\":[\"pdf\",\"images\"],"
	                                  "\"needs_not\":[\"tools\"],\"latency\":\"batch\"},\"targets\":[\"b\",{\"target\":\"c\",\"weight\":1000000}],"
	                                  "\"choose\":\"least_cost\"},{\"when\":{},\"targets\":[\"c\"]}]"));
	assert_int_equal(c->routes[0].nrules, 2);
	const struct conf_rule *r = &c->routes[0].rules[0], *rest = &c->routes[0].rules[1];
	assert_true(str_eq_z(r->name, "big") && rest->name.n == 0);
	assert_int_equal(r->nmetadata, 2);
	assert_true(str_eq_z(r->metadata[0].name, "feature") && str_eq_z(r->metadata[0].value, "inv*"));
	assert_int_equal(r->nusers, 2);
	assert_true(str_eq_z(r->users[1], "u2") && r->ntiers == 1 && str_eq_z(r->tiers[0], "free"));
	assert_int_equal(r->input_min, 1);
	assert_int_equal(r->input_max, 9);
	assert_int_equal(r->complexity_min, 50);
	assert_int_equal(r->complexity_max, 100);
	assert_int_equal(r->needs, NEED_PDF | NEED_IMAGES);
	assert_int_equal(r->needs_not, NEED_TOOLS);
	assert_int_equal(r->latency, 1);
	assert_int_equal(r->use.ntargets, 2);
	assert_int_equal(r->use.weights[1], 1000000);
	assert_int_equal(r->use.choose, CHOOSE_LEAST_COST);
	assert_true(rest->input_min == 0 && rest->input_max == INT64_MAX && rest->complexity_min == 0 && rest->complexity_max == 100);
	assert_true(rest->latency == -1 && rest->needs == 0 && rest->nusers == 0 && rest->use.choose == CHOOSE_ORDERED);
	conf_unref(c);
}

#define PLACED(name, place) "\"" name "\":{\"provider\":\"openai\",\"model\":\"m\",\"api_key\":\"k\"" place "}"
#define IN_PLACES(rules) "{\"targets\":{" PLACED("a", "") "," PLACED("b", ",\"place\":\"eu\"") "," PLACED("c", ",\"place\":\"us\"") "}," \
	"\"routes\":{\"r\":{\"targets\":[\"a\",\"b\",\"c\"],\"choose\":\"least_busy\",\"rules\":[" rules "]}}}"

static void test_conf_rules_may_say_where(void **state UNUSED)
{
	struct conf *c = confs_good(IN_PLACES("{\"when\":{},\"places\":[\"eu\",\"ch\"]},{\"when\":{},\"places\":[\"us\"],\"choose\":\"ordered\"},"
	                                      "{\"when\":{},\"targets\":[\"c\",\"a\"],\"places\":[\"us\"]},{\"when\":{},\"targets\":[\"a\"]}"));
	const struct conf_route *route = &c->routes[0];
	const struct conf_rule *r = route->rules;
	assert_int_equal(route->nrules, 4);
	assert_true(r[0].use.ntargets == 3 && r[0].use.choose == CHOOSE_LEAST_BUSY && r[1].use.choose == CHOOSE_ORDERED && r[2].use.ntargets == 2);
	static const bool allowed[4][3] = { { false, true, false }, { false, false, true }, { false, false, true }, { true, true, true } };
	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < 3; k++)
			assert_int_equal(conf_rule_allows(&r[i], route->targets[k]), allowed[i][k]);
	assert_true(conf_rule_allows(NULL, route->targets[0]));
	conf_unref(c);
	CONFS_MISTAKES(IN_PLACES("{\"when\":{},\"places\":[]},{\"when\":{},\"places\":[\"ch\"]},{\"when\":{},\"targets\":[\"c\"],\"places\":[\"eu\"]},"
	                         "{\"when\":{},\"places\":\"eu\"},{\"when\":{},\"places\":[1]}"),
	               "routes.r.rules[0].places", "no target would serve", "routes.r.rules[3].places", "wanted a list", "routes.r.rules[4].places[0]",
	               "a target's place", "routes.r.rules[1].places", "no target of the rule", "routes.r.rules[2].places", "no target of the rule");
}

static void test_conf_mistakes_of_rules(void **state UNUSED)
{
	CONFS_MISTAKES(ROUTE("\"rules\":[{\"wen\":{}},7,{\"when\":{\"input_tokens\":{\"min\":9,\"max\":1},\"complexity\":{\"max\":101,\"mim\":1},\"needs\":[\"pdf\"],"
	                     "\"needs_not\":[\"pdf\",\"pdfs\"],\"latency\":\"slow\",\"users\":[],\"tiers\":[\"fee\",1],\"metadata\":{\"a\":1}},\"targets\":[\"d\"],"
	                     "\"choose\":\"best\"}]"),
	               "routes.r.rules[0].wen", "did you mean \"when\"?", "routes.r.rules[0].when", "missing", "routes.r.rules[0].targets", "missing",
	               "routes.r.rules[1]", "wanted an object", "routes.r.rules[2].when.input_tokens", "min (9) is more than max (1)",
	               "routes.r.rules[2].when.complexity.max", "wanted 0 to 100", "routes.r.rules[2].when.complexity.mim", "not known",
	               "routes.r.rules[2].when.needs_not[1]", "did you mean \"pdf\"?", "routes.r.rules[2].when.latency", "one of interactive, batch",
	               "routes.r.rules[2].when.users", "never hold", "routes.r.rules[2].when.tiers[1]", "a tier's name, got a number",
	               "routes.r.rules[2].when.tiers[0]", "did you mean \"free\"?", "routes.r.rules[2].when.metadata.a", "wanted text",
	               "routes.r.rules[2].when.needs_not", "\"needs\" names, too", "routes.r.rules[2].targets[0]", "no target \"d\"",
	               "routes.r.rules[2].choose", "one of ordered, weighted, least_cost, least_latency, least_busy");
}

static void test_conf_mistakes_of_choices(void **state UNUSED)
{
	CONFS_MISTAKES("{" TARGETS ",\"routes\":{\"r\":{\"targets\":[{\"target\":\"a\",\"weight\":0},{\"target\":\"b\",\"wait\":1},{\"weight\":2},{\"target\":\"a\"}],"
	               "\"context_window\":[\"d\"],\"content_policy\":[]}}}",
	               "routes.r.targets[0].weight", "wanted 1 to 1000000", "routes.r.targets[1].wait", "not known", "routes.r.targets[2].target", "missing",
	               "routes.r.targets[3]", "twice", "routes.r.context_window[0]", "no target \"d\"", "routes.r.content_policy", "empty");
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 1 << 16);
	buf_add_z(&b, "{\"targets\":{\"a\":" T "},\"routes\":{\"r\":{\"targets\":[\"a\"");
	for (int i = 0; i < CONF_CHOICE_MAX; i++)
		buf_add_z(&b, ",\"a\"");
	buf_add_z(&b, "]}}}");
	buf_add_char(&b, 0);
	CONFS_MISTAKES(b.p, "routes.r.targets", "has 65 targets: wanted at most 64");
}

static void test_conf_mistakes_of_ladders(void **state UNUSED)
{
	CONFS_MISTAKES(ROUTE("\"ladder\":[\"simple_model\",\"static\",\"static\",\"cache\"]"), "routes.r.ladder[2]", "twice", "routes.r.ladder[3]",
	               "one of stale_cache, simple_model, static", "routes.r.simple_model", "is missing: the ladder has the rung", "routes.r.static",
	               "is missing: the ladder has the rung");
	CONFS_MISTAKES(ROUTE("\"simple_model\":\"b\",\"static\":\"x\""), "routes.r.simple_model", "is never served", "routes.r.static", "is never served");
	CONFS_MISTAKES(ROUTE("\"ladder\":[\"static\"],\"static\":\"\""), "routes.r.static", "not empty");
	CONFS_MISTAKES(ROUTE("\"ladder\":[\"static\"],\"static\":[]"), "routes.r.static", "1 to 1000 answers");
	CONFS_MISTAKES(ROUTE("\"ladder\":[\"static\"],\"static\":7"), "routes.r.static", "list of answers, got a number");
	CONFS_MISTAKES(ROUTE("\"ladder\":[\"static\"],\"static\":[{\"match\":\"a\"},{\"text\":\"x\"},{\"match\":\"\",\"text\":\"y\"},{\"macth\":\"\",\"text\":\"z\"}]"),
	               "routes.r.static[0].text", "missing", "routes.r.static[2]", "only one answer", "routes.r.static[3].macth", "did you mean \"match\"?",
	               "routes.r.static[3]", "only one answer");
}

static void test_conf_mistakes_of_caches_and_limits(void **state UNUSED)
{
	CONFS_MISTAKES(ROUTE("\"cache\":{\"mode\":\"semantic\",\"ttl\":\"31d\",\"name\":\"x\"},\"on_limit\":\"refuse\",\"shorten_floor\":0,\"ladder_after\":\"-1s\","
	                     "\"affinity\":\"yes\",\"accept_partial\":0"),
	               "routes.r.cache.mode", "one of off, exact", "routes.r.cache.ttl", "1s to 30d", "routes.r.cache.name", "not known", "routes.r.on_limit",
	               "one of queue, shorten, fallback", "routes.r.shorten_floor", "out of range", "routes.r.ladder_after", "0s to 30d", "routes.r.affinity",
	               "true or false", "routes.r.accept_partial", "true or false");
	CONFS_MISTAKES(ROUTE("\"cache\":{\"ttl\":\"999ms\"}"), "routes.r.cache.ttl", "1s to 30d");
	CONFS_MISTAKES(ROUTE("\"cache\":\"exact\""), "routes.r.cache", "wanted an object, got text");
	CONFS_MISTAKES(ROUTE("\"chose\":\"ordered\""), "routes.r.chose", "did you mean \"choose\"?");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, confs_open, confs_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_conf_routes_have_every_member), TEST(test_conf_made_routes_are_complete), TEST(test_conf_rules_have_every_member),
		TEST(test_conf_rules_may_say_where),
		TEST(test_conf_mistakes_of_rules),        TEST(test_conf_mistakes_of_choices),      TEST(test_conf_mistakes_of_ladders),
		TEST(test_conf_mistakes_of_caches_and_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
