/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference of targets, routes, tiers and rates: each member once, with its JSON Schema and what it is, for the page
 * and for the schema. The readers (conf_targets.c, conf_routes.c, conf_rates.c) are the truth; a test compares the names.
 */
#include "common/conf_private.h"
#include "common/provider_record.h"
#include "common/request_facts.h"

#define TEXT      "{\"type\":\"string\"}"
#define FLAG      "{\"type\":\"boolean\"}"
#define COUNT     "{\"$ref\":\"#/$defs/count\"}"
#define DURATION  "{\"$ref\":\"#/$defs/duration\"}"
#define USD       "{\"$ref\":\"#/$defs/usd\"}"
#define CHOICE    "{\"$ref\":\"#/$defs/choice\"}"
#define CHOOSE    "{\"enum\":[\"ordered\",\"weighted\",\"least_cost\",\"least_latency\",\"least_busy\"]}"
#define ABILITIES "{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/ability\"}}"
#define TEXTS     "{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\",\"minLength\":1}}"
#define URL_WORD  "{\"type\":\"string\",\"pattern\":\"^[0-9A-Za-z-]{1,64}$|\\\\$\\\\{\"}"
#define OBJECT(required, properties) \
	"{\"type\":\"object\",\"additionalProperties\":false,\"required\":[" required "],\"properties\":{" properties "}}"
#define RANGE(max) \
	OBJECT("", "\"min\":{\"type\":\"integer\",\"minimum\":0" max "},\"max\":{\"type\":\"integer\",\"minimum\":0" max "}")
#define TIER_NAMES "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}"

struct doc {
	const char *name, *schema, *help; /* schema: an object of JSON Schema; help: Markdown */
};

static const struct doc target_members[] = {
	{ "provider", "{\"$ref\":\"#/$defs/provider\"}", "One of the providers below; required" },
	{ "model", TEXT, "What the provider is asked for (Azure: the deployment); required" },
	{ "base_url", "{\"type\":\"string\",\"pattern\":\"^(https?://|\\\\$\\\\{)\"}",
	  "Where the provider's API is, without the operation: `https://api.openai.com/v1`; required where the provider has no "
	  "address below" },
	{ "api_key", TEXT, "The provider's key; write `${NAME}` and keep it in the environment" },
	{ "headers", "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}", "Further headers of each call" },
	{ "api_version", URL_WORD, "Azure: `2024-10-21`; none where the address needs none" },
	{ "region", URL_WORD, "Bedrock: `eu-west-1`; gives the address, too" },
	{ "access_key", TEXT, "Bedrock: with `secret_key` (and `session_token`) instead of `api_key`; calls are signed" },
	{ "secret_key", TEXT, "Bedrock: the secret of `access_key`" },
	{ "session_token", TEXT, "Bedrock: of temporary credentials" },
	{ "price",
	  OBJECT("\"input\",\"output\"",
	         "\"input\":" USD ",\"cached_input\":" USD ",\"cache_write\":" USD ",\"output\":" USD),
	  "US dollars per million tokens, as text: `{\"input\": \"0.15\", \"cached_input\": \"0.075\", \"output\": \"0.60\"}`, and "
	  "`cache_write` where writing the provider's prompt cache has a price of its own; without a price the cost is unknown" },
	{ "timeout",
	  OBJECT("", "\"connect\":" DURATION ",\"first_token\":" DURATION ",\"between_tokens\":" DURATION ",\"total\":" DURATION),
	  "`connect`, `first_token`, `between_tokens`, `total`: instead of the `timeout.*` settings" },
	{ "limits",
	  OBJECT("", "\"requests\":" COUNT ",\"tokens\":" COUNT ",\"input_tokens\":" COUNT ",\"output_tokens\":" COUNT
	             ",\"concurrency\":" COUNT ",\"headroom\":{\"type\":\"number\",\"exclusiveMinimum\":0,\"maximum\":1}"),
	  "What the provider allows: `requests`, `tokens` (both kinds together), `input_tokens`, `output_tokens` per minute and "
	  "`concurrency` (calls at once), over the whole fleet; of these, `headroom` (default 0.8) is used. None: no limit" },
	{ "context_tokens", COUNT, "Tokens of input and output that the model holds; longer requests go elsewhere" },
	{ "max_output_tokens", COUNT, "The most it writes; told to providers that must be told one" },
	{ "can", ABILITIES, "What it takes beyond its provider's list: the words of `needs` below" },
	{ "cannot", ABILITIES, "What it refuses of its provider's list" },
	{ "place", TEXT, "Where it is, in words of your choice: `eu`" },
	{ "prompt_cache", FLAG,
	  "Mark the part that requests have in common for the provider's prompt cache, where it needs marks (default true)" },
	{ "stream", FLAG, "Ask for a stream, so that the first token is seen and a cut noticed (default true)" },
};

static const struct doc route_members[] = {
	{ "targets", CHOICE, "1 to 64 names of targets, in order; with a weight: `{\"target\": \"b\", \"weight\": 3}`; required" },
	{ "choose", CHOOSE,
	  "`ordered` (the first that can be called; the default), `weighted`, `least_cost`, `least_latency`, `least_busy`" },
	{ "rules", "{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/rule\"}}",
	  "Other targets for some requests: the first rule that holds is used" },
	{ "context_window", CHOICE, "Targets to go to when the request is too long for the chosen one" },
	{ "content_policy", CHOICE, "Targets to go to when the provider's content filter refused" },
	{ "fallback_on_bad_request", FLAG, "Ask another target after a request that one called wrong, too (default false)" },
	{ "cache",
	  OBJECT("", "\"mode\":{\"enum\":[\"off\",\"exact\"]},\"ttl\":" DURATION ",\"namespace\":" TEXT),
	  "`mode`: `off` (default) or `exact`; `ttl`: 1s to 30d (default 1h); `namespace`: shared by all that name it, else each "
	  "tenant's own" },
	{ "affinity", FLAG,
	  "Requests with the same system messages, tools and leading documents go to the same target, whose prompt cache has them "
	  "(default true; false with `choose` `weighted`)" },
	{ "on_limit", "{\"enum\":[\"queue\",\"shorten\",\"fallback\"]}",
	  "At a target's limit: `queue` (wait; the default), `shorten` (lower the output to what fits) or `fallback` (the next "
	  "target)" },
	{ "shorten_floor", COUNT, "`shorten` never goes below so many tokens of output (default 64)" },
	{ "accept_partial", FLAG, "The default of the job's `accept_partial` (false)" },
	{ "ladder", "{\"type\":\"array\",\"uniqueItems\":true,\"items\":{\"enum\":[\"stale_cache\",\"simple_model\",\"static\"]}}",
	  "What is served when no target can, in order: an answer past its ttl, another model, a prepared answer" },
	{ "ladder_after", DURATION, "How long a job waits for a target before that (default 0s)" },
	{ "simple_model", TEXT, "The target of the rung `simple_model`" },
	{ "static",
	  "{\"anyOf\":[{\"type\":\"string\",\"minLength\":1},{\"type\":\"array\",\"minItems\":1,\"maxItems\":1000,\"items\":" OBJECT(
	      "\"text\"", "\"match\":" TEXT ",\"text\":" TEXT) "}]}",
	  "The prepared answer of the rung `static`, or several: `[{\"match\": \"refund money back\", \"text\": \"…\"}]`; the one "
	  "whose words match the last user message best, else the one without `match`" },
};

static const struct doc rule_members[] = {
	{ "name", TEXT, "Shown on the attempt as the reason of the choice" },
	{ "when", "{\"$ref\":\"#/$defs/when\"}", "What must hold; `{}` always does; required" },
	{ "targets", CHOICE, "As of the route; required, unless `places` is there: the route's own then" },
	{ "choose", CHOOSE, "As of the route (default `ordered`; without `targets` as the route does)" },
	{ "places", TEXTS, "Only targets of one of these places serve what the rule holds for, also `context_window`, `content_policy` and `simple_model`: "
	  "`[\"eu\"]`" },
};

static const struct doc when_members[] = {
	{ "metadata", "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}",
	  "Values that the job's metadata has: `{\"feature\": \"invoices\"}`; `*` is any value, `inv*` a beginning" },
	{ "users", TEXTS, "The job's user is one of these" },
	{ "tiers", TEXTS, "The tenant's tier is one of these" },
	{ "input_tokens", RANGE(""), "Estimated input tokens: `{\"min\": 1000, \"max\": 8000}`, both inside" },
	{ "complexity", RANGE(",\"maximum\":100"), "How hard the request looks, 0 to 100: `{\"min\": 50}`" },
	{ "needs", ABILITIES, "What the request has: all of these" },
	{ "needs_not", ABILITIES, "What the request has none of" },
	{ "latency", "{\"enum\":[\"interactive\",\"batch\"]}",
	  "`batch`: part of a batch, or of priority above 5; else `interactive`" },
};

static const struct doc tier_members[] = {
	{ "requests", COUNT, "Calls per minute" },
	{ "tokens", COUNT, "Tokens per minute, input and output together" },
	{ "input_tokens", COUNT, "Input tokens per minute" },
	{ "output_tokens", COUNT, "Output tokens per minute" },
	{ "concurrency", COUNT, "Calls at once" },
	{ "submit", COUNT, "Submissions per minute of one key: 429 above it" },
	{ "max_depth", COUNT, "Waiting jobs of one tenant: 429 above it" },
};

static const struct doc rate_members[] = {
	{ "global", TEXT, "The tier of everything together" },
	{ "tenants", TIER_NAMES, "By tenant: `{\"acme\": \"paid\", \"*\": \"free\"}`" },
	{ "keys", TIER_NAMES, "By API key, named by its prefix" },
	{ "users", TIER_NAMES, "By the job's user" },
	{ "features", TIER_NAMES, "By the feature in the job's metadata" },
};

static const struct {
	const char *name; /* in $defs */
	const struct doc *members;
	size_t n;
	const char *required;
} objects[] = {
	{ "target", target_members, ARRAY_LEN(target_members), "\"provider\",\"model\"" },
	{ "any_model", target_members, ARRAY_LEN(target_members), "\"provider\"" },
	{ "route", route_members, ARRAY_LEN(route_members), "\"targets\"" },
	{ "rule", rule_members, ARRAY_LEN(rule_members), "\"when\"" },
	{ "when", when_members, ARRAY_LEN(when_members), "" },
	{ "tier", tier_members, ARRAY_LEN(tier_members), "" },
	{ "rates", rate_members, ARRAY_LEN(rate_members), "" },
};

/* --- JSON Schema --- */

static void write_object(struct buf *b, size_t i)
{
	buf_printf(b, "\"%s\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":[%s],\"properties\":{",
	           objects[i].name, objects[i].required);
	for (size_t k = 0; k < objects[i].n; k++) {
		const struct doc *d = &objects[i].members[k];
		buf_printf(b, "%s\n\"%s\":{\"description\":", k ? "," : "", d->name);
		buf_add_json_str(b, str_from(d->help));
		buf_add_char(b, ',');
		buf_add_z(b, d->schema + 1);
	}
	buf_add_z(b, "}},\n");
}

void conf_docs_write_defs(struct buf *b)
{
	for (size_t i = 0; i < ARRAY_LEN(objects); i++)
		write_object(b, i);
	buf_add_z(b, "\"provider\":{\"anyOf\":[{\"enum\":[");
	for (size_t i = 0; i < provider_records_n; i++)
		buf_printf(b, "%s\"%s\"", i ? "," : "", provider_records[i].name);
	buf_add_z(b, "]},{\"$ref\":\"#/$defs/variable\"}]},\n\"ability\":{\"enum\":[");
	for (uint32_t bit = 1; request_need_word(bit); bit <<= 1)
		buf_printf(b, "%s\"%s\"", bit > 1 ? "," : "", request_need_word(bit));
	buf_add_z(b, "]},\n"
	             "\"choice\":{\"type\":\"array\",\"minItems\":1,\"maxItems\":64,\"items\":{\"anyOf\":[" TEXT "," OBJECT(
	                 "\"target\"", "\"target\":" TEXT ",\"weight\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000}") "]}},\n"
	             "\"count\":{\"anyOf\":[{\"type\":\"integer\",\"minimum\":1},{\"$ref\":\"#/$defs/number\"}]},\n");
}

/* --- the page --- */

/* A '|' would end the table's cell. */
void conf_docs_add_cell(struct buf *b, const char *z)
{
	for (; *z; z++) {
		if (*z == '|')
			buf_add_char(b, '\\');
		buf_add_char(b, *z);
	}
}

static void write_table(struct buf *b, const struct doc *members, size_t n)
{
	buf_add_z(b, "\n| member | what it is |\n| --- | --- |\n");
	for (size_t i = 0; i < n; i++) {
		buf_printf(b, "| `%s` | ", members[i].name);
		conf_docs_add_cell(b, members[i].help);
		buf_add_z(b, " |\n");
	}
}

static void write_providers(struct buf *b)
{
	buf_add_z(b, "\n| provider | what it is | `base_url` |\n| --- | --- | --- |\n");
	for (size_t i = 0; i < provider_records_n; i++) {
		const struct provider_record *p = &provider_records[i];
		const char *tick = p->base_url[0] ? "`" : "";
		buf_printf(b, "| `%s` | %s | %s%s%s |\n", p->name, p->doc, tick, p->base_url[0] ? p->base_url : "yours", tick);
	}
}

void conf_docs_write_parts(struct buf *b)
{
	buf_add_z(b, "\n## Targets\n\n"
	             "`targets` is an object; each member is one provider, model, key and endpoint under a name of your "
	             "choice. `models` has one member,\n"
	             "`\"*\"`: a target without `model`, for every model name that is no route and no target.\n");
	write_table(b, target_members, ARRAY_LEN(target_members));
	write_providers(b);
	buf_add_z(b, "\n## Routes\n\n"
	             "`routes` is an object; each member says which targets serve a request and what happens when they "
	             "cannot. A request names a route,\n"
	             "a target (a route of that one, all defaults), or any model's name where `models` has `\"*\"`. Targets "
	             "that cannot take a request are left out.\n");
	write_table(b, route_members, ARRAY_LEN(route_members));
	buf_add_z(b, "\nA rule:\n");
	write_table(b, rule_members, ARRAY_LEN(rule_members));
	buf_add_z(b, "\nIts `when`; what is left out asks for nothing, and all that is there must hold:\n");
	write_table(b, when_members, ARRAY_LEN(when_members));
	buf_add_z(b, "\nThe words of `needs`, `needs_not`, `can` and `cannot`:");
	for (uint32_t bit = 1; request_need_word(bit); bit <<= 1)
		buf_printf(b, "%s`%s`", bit == 1 ? "\n" : bit == NEED_TOOLS ? ",\n" : ", ", request_need_word(bit));
	buf_add_z(b, ".\n\n## Tiers and rates\n\n"
	             "`tiers` is an object of named sets of limits; a limit that is left out is none:\n");
	write_table(b, tier_members, ARRAY_LEN(tier_members));
	buf_add_z(b, "\n`rates` says which tier somebody is of: by exact name, else by `\"*\"`, else of none, without limits. All "
	             "that apply to a job hold\nat once:\n");
	write_table(b, rate_members, ARRAY_LEN(rate_members));
}
