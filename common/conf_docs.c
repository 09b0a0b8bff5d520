/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration's reference, made from conf.def: a page in Markdown and a JSON Schema (2020-12) that editors use
 * while a file is written. The parts that are no rows of the table (targets, models, routes) are written out here, next
 * to each other for both forms.
 *
 * Only the buffer can fail (it is too small): the caller hears -ERR_TOO_LARGE.
 */
#include <stdlib.h>
#include <string.h>

#include "common/conf_private.h"

static const char *const type_words[] = {
	[CONF_INT] = "number",         [CONF_BYTES] = "size", [CONF_MS] = "duration",
	[CONF_BOOL] = "true or false", [CONF_STR] = "text",
};

static const struct {
	const char *name, *schema, *help;
} target_members[] = {
	{ "provider", "{\"type\":\"string\"}",
	  "The wire format: `openai` (and all that speak it) or another adapter's name; required" },
	{ "model", "{\"type\":\"string\"}", "What the provider is asked for; required" },
	{ "base_url", "{\"type\":\"string\",\"pattern\":\"^(https?://|\\\\$\\\\{)\"}",
	  "Where the provider's API is, without the operation: `https://api.openai.com/v1`; required" },
	{ "api_key", "{\"type\":\"string\"}", "The provider's key; write `${NAME}` and keep it in the environment" },
	{ "headers", "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}",
	  "Further headers of each call" },
	{ "price",
	  "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"input\",\"output\"],\"properties\":{"
	  "\"input\":{\"$ref\":\"#/$defs/usd\"},\"cached_input\":{\"$ref\":\"#/$defs/usd\"},\"output\":{\"$ref\":\"#/"
	  "$defs/usd\"}}}",
	  "US dollars per million tokens, as text: `{\"input\": \"0.15\", \"cached_input\": \"0.075\", \"output\": "
	  "\"0.60\"}`; without it the "
	  "cost is unknown" },
	{ "timeout",
	  "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"connect\":{\"$ref\":\"#/$defs/"
	  "duration\"},"
	  "\"first_token\":{\"$ref\":\"#/$defs/duration\"},\"between_tokens\":{\"$ref\":\"#/$defs/duration\"},"
	  "\"total\":{\"$ref\":\"#/$defs/duration\"}}}",
	  "`connect`, `first_token`, `between_tokens`, `total`: instead of the `timeout.*` settings" },
	{ "stream", "{\"type\":\"boolean\"}",
	  "Ask for a stream, so that the first token is seen and a cut noticed (default true)" },
};

static void write_bound(struct buf *b, const struct conf_setting *s, int64_t v)
{
	static const struct {
		int64_t size;
		const char *unit;
	} sizes[] = { { INT64_C(1) << 30, "GiB" }, { 1 << 20, "MiB" }, { 1 << 10, "KiB" } },
	  times[] = { { 86400000, "d" }, { 3600000, "h" }, { 60000, "m" }, { 1000, "s" } };
	for (size_t i = 0; s->type == CONF_BYTES && i < ARRAY_LEN(sizes); i++)
		if (v && v % sizes[i].size == 0) {
			buf_printf(b, "%lld%s", (long long)(v / sizes[i].size), sizes[i].unit);
			return;
		}
	for (size_t i = 0; s->type == CONF_MS && i < ARRAY_LEN(times); i++)
		if (v && v % times[i].size == 0) {
			buf_printf(b, "%lld%s", (long long)(v / times[i].size), times[i].unit);
			return;
		}
	buf_printf(b, "%lld%s", (long long)v, s->type == CONF_MS && v ? "ms" : "");
}

static void write_range(struct buf *b, const struct conf_setting *s)
{
	const char *choices = conf_setting_choices(s);
	if (s->type == CONF_BOOL || s->type == CONF_STR) {
		buf_add_z(b, choices ? "" : type_words[s->type]);
		struct str rest = str_from(choices), word;
		bool first = true;
		while (choices && str_split(&rest, '|', &word)) {
			buf_printf(b, "%s`" STR_FMT "`", first ? "" : ", ", STR_ARG(word));
			first = false;
		}
		return;
	}
	buf_printf(b, "%s, ", type_words[s->type]);
	write_bound(b, s, s->min);
	buf_add_z(b, " to ");
	write_bound(b, s, s->max);
}

/* A '|' would end the table's cell. */
static void add_cell(struct buf *b, const char *z)
{
	for (; *z; z++) {
		if (*z == '|')
			buf_add_char(b, '\\');
		buf_add_char(b, *z);
	}
}

int conf_write_markdown(struct buf *b)
{
	buf_add_z(b, "# Settings\n\n"
	             "<!-- Made by `make docs` from common/conf.def; edit that. -->\n\n"
	             "The configuration is one JSON file, given with `--config FILE` or `MILLRACE_CONFIG`. Settings "
	             "with a dot stand in an object:\n"
	             "`worker.slots` is `{\"worker\": {\"slots\": 256}}`. Each of them can also come from the "
	             "environment, which wins:\n"
	             "`MILLRACE_WORKER_SLOTS=512`. Any text in the file may hold `${NAME}` (the environment's value, "
	             "which must be set),\n"
	             "`${NAME:-text}` (with a default) and `$${` (a literal `${`). `millrace check-config FILE` names "
	             "every mistake.\n\n"
	             "`SIGHUP` reads the file again: settings marked *reload*, the targets and the routes change at "
	             "once, the others at the next\n"
	             "start. A file with a mistake changes nothing.\n\n"
	             "## Simple settings\n\n"
	             "| setting | default | values | taken over | what it does |\n| --- | --- | --- | --- | --- |\n");
	for (size_t i = 0; i < conf_settings_n; i++) {
		const struct conf_setting *s = &conf_settings[i];
		buf_printf(b, "| `%s` | %s%s%s | ", s->path, *s->def ? "`" : "", *s->def ? s->def : "empty",
		           *s->def ? "`" : "");
		write_range(b, s);
		buf_printf(b, " | %s | ", s->when == CONF_RELOAD ? "reload" : "restart");
		add_cell(b, s->help);
		buf_add_z(b, " |\n");
	}
	buf_add_z(b, "\n## Targets\n\n"
	             "`targets` is an object; each member is one provider, model, key and endpoint under a name of "
	             "your choice.\n\n"
	             "| member | what it is |\n| --- | --- |\n");
	for (size_t i = 0; i < ARRAY_LEN(target_members); i++) {
		buf_printf(b, "| `%s` | ", target_members[i].name);
		add_cell(b, target_members[i].help);
		buf_add_z(b, " |\n");
	}
	return buf_add_z(
	    b,
	    "\n## Routes and models\n\n"
	    "`routes` is an object; each member is `{\"targets\": [\"name\", …]}`, tried in that order. A request "
	    "names a route, a target, or,\n"
	    "where `models` has the member `\"*\"` (a target without `model`), any model's name.\n\n"
	    "```json\n{\n"
	    "  \"targets\": {\n"
	    "    \"openai/gpt-4o-mini\": {\n"
	    "      \"provider\": \"openai\", \"model\": \"gpt-4o-mini\", \"base_url\": \"https://api.openai.com/v1\",\n"
	    "      \"api_key\": \"${OPENAI_API_KEY}\",\n"
	    "      \"price\": {\"input\": \"0.15\", \"cached_input\": \"0.075\", \"output\": \"0.60\"}\n"
	    "    }\n  },\n"
	    "  \"routes\": {\"default\": {\"targets\": [\"openai/gpt-4o-mini\"]}}\n}\n```\n");
}

/* --- JSON Schema --- */

static void write_schema_type(struct buf *b, const struct conf_setting *s)
{
	const char *choices = conf_setting_choices(s);
	struct str rest = str_from(choices), word;
	bool first = true;
	switch (s->type) {
	case CONF_INT:
		buf_printf(b,
		           "\"anyOf\":[{\"type\":\"integer\",\"minimum\":%lld,\"maximum\":%lld},{\"$ref\":\"#/$defs/"
		           "number\"}]",
		           (long long)s->min, (long long)s->max);
		return;
	case CONF_BYTES:
		buf_add_z(b, "\"$ref\":\"#/$defs/size\"");
		return;
	case CONF_MS:
		buf_add_z(b, "\"$ref\":\"#/$defs/duration\"");
		return;
	case CONF_BOOL:
		buf_add_z(b, "\"anyOf\":[{\"type\":\"boolean\"},{\"enum\":[\"true\",\"false\"]},{\"$ref\":\"#/$defs/"
		             "variable\"}]");
		return;
	case CONF_STR:
		if (!choices) {
			buf_add_z(b, "\"type\":\"string\"");
			return;
		}
		buf_add_z(b, "\"anyOf\":[{\"enum\":[");
		while (str_split(&rest, '|', &word)) {
			buf_printf(b, "%s\"" STR_FMT "\"", first ? "" : ",", STR_ARG(word));
			first = false;
		}
		buf_add_z(b, "]},{\"$ref\":\"#/$defs/variable\"}]");
		return;
	}
}

static void write_schema_default(struct buf *b, const struct conf_setting *s)
{
	buf_add_z(b, ",\"default\":");
	if (s->type == CONF_INT || s->type == CONF_BOOL)
		buf_add_z(b, s->def);
	else
		buf_add_json_str(b, str_from(s->def));
}

static void write_schema_setting(struct buf *b, const struct conf_setting *s, const char *name, bool first)
{
	buf_printf(b, "%s\n\"%s\":{", first ? "" : ",", name);
	write_schema_type(b, s);
	write_schema_default(b, s);
	buf_add_z(b, ",\"description\":");
	buf_add_json_str(b, str_from(s->help));
	buf_add_char(b, '}');
}

/* The rows of one group stand together in conf.def; a group begins with its first row and ends before another's. */
static void write_schema_settings(struct buf *b)
{
	struct str open = { NULL, 0 };
	for (size_t i = 0; i < conf_settings_n; i++) {
		struct str path = str_from(conf_settings[i].path);
		ssize_t dot = str_find_char(path, '.');
		struct str group = str_sub(path, 0, dot < 0 ? 0 : (size_t)dot);
		bool first = group.n == 0 || !str_eq(group, open);
		if (open.n && !str_eq(group, open))
			buf_add_z(b, "}}");
		if (group.n && first)
			buf_printf(b,
			           ",\n\"" STR_FMT
			           "\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{",
			           STR_ARG(group));
		write_schema_setting(b, &conf_settings[i], conf_settings[i].path + dot + 1, group.n > 0 && first);
		open = group;
	}
	if (open.n)
		buf_add_z(b, "}}");
}

static void write_schema_target(struct buf *b, const char *name, const char *required)
{
	buf_printf(b, "\"%s\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":[%s],\"properties\":{",
	           name, required);
	for (size_t i = 0; i < ARRAY_LEN(target_members); i++) {
		buf_printf(b, "%s\n\"%s\":{\"description\":", i ? "," : "", target_members[i].name);
		buf_add_json_str(b, str_from(target_members[i].help));
		buf_add_char(b, ',');
		buf_add_z(b, target_members[i].schema + 1);
	}
	buf_add_z(b, "}},\n");
}

int conf_write_schema(struct buf *b)
{
	buf_add_z(
	    b, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\n\"title\":\"Millrace configuration\",\n"
	       "\"type\":\"object\",\"additionalProperties\":false,\n\"$defs\":{\n");
	write_schema_target(b, "target", "\"provider\",\"model\",\"base_url\"");
	write_schema_target(b, "any_model", "\"provider\",\"base_url\"");
	buf_add_z(b, "\"variable\":{\"type\":\"string\",\"pattern\":\"\\\\$\\\\{\"},\n"
	             "\"number\":{\"type\":\"string\",\"pattern\":\"^-?[0-9]+$|\\\\$\\\\{\"},\n"
	             "\"size\":{\"anyOf\":[{\"type\":\"integer\",\"minimum\":0},"
	             "{\"type\":\"string\",\"pattern\":\"^[0-9]+ ?([KMG]iB)?$|\\\\$\\\\{\"}]},\n"
	             "\"duration\":{\"anyOf\":[{\"type\":\"integer\",\"minimum\":0},"
	             "{\"type\":\"string\",\"pattern\":\"^[0-9]+(ms|s|m|h|d)?$|\\\\$\\\\{\"}]},\n"
	             "\"usd\":{\"anyOf\":[{\"type\":\"integer\",\"minimum\":0},"
	             "{\"type\":\"string\",\"pattern\":\"^[0-9]+(\\\\.[0-9]{1,9})?$|\\\\$\\\\{\"}]}},\n"
	             "\"properties\":{\n\"$schema\":{\"type\":\"string\"},\n"
	             "\"targets\":{\"type\":\"object\",\"additionalProperties\":{\"$ref\":\"#/$defs/target\"}},\n"
	             "\"models\":{\"type\":\"object\",\"additionalProperties\":false,"
	             "\"properties\":{\"*\":{\"$ref\":\"#/$defs/any_model\"}}},\n"
	             "\"routes\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"object\","
	             "\"additionalProperties\":false,"
	             "\"required\":[\"targets\"],\"properties\":{\"targets\":{\"type\":\"array\",\"minItems\":1,"
	             "\"items\":{\"type\":\"string\"}}}}}");
	write_schema_settings(b);
	return buf_add_z(b, "}}\n");
}
