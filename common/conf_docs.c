/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration's reference, made from conf.def: a page in Markdown and a JSON Schema (2020-12) that editors use
 * while a file is written. The parts that are no rows of the table (targets, routes, tiers, …) are conf_docs_parts.c's.
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
		conf_docs_add_cell(b, s->help);
		buf_add_z(b, " |\n");
	}
	conf_docs_write_parts(b);
	return buf_add_z(
	    b,
	    "\n## An example\n\n"
	    "```json\n{\n"
	    "  \"targets\": {\n"
	    "    \"openai/gpt-4o-mini\": {\n"
	    "      \"provider\": \"openai\", \"model\": \"gpt-4o-mini\", \"api_key\": \"${OPENAI_API_KEY}\",\n"
	    "      \"price\": {\"input\": \"0.15\", \"cached_input\": \"0.075\", \"output\": \"0.60\"}\n"
	    "    }\n  },\n"
	    "  \"routes\": {\"default\": {\"targets\": [\"openai/gpt-4o-mini\"]}}\n}\n```\n\n"
	    "[deploy/config.example.json](../deploy/config.example.json) shows several providers, rules, a ladder and tiers.\n");
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

int conf_write_schema(struct buf *b)
{
	buf_add_z(
	    b, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\n\"title\":\"Millrace configuration\",\n"
	       "\"type\":\"object\",\"additionalProperties\":false,\n\"$defs\":{\n");
	conf_docs_write_defs(b);
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
	             "\"tiers\":{\"type\":\"object\",\"additionalProperties\":{\"$ref\":\"#/$defs/tier\"}},\n"
	             "\"rates\":{\"$ref\":\"#/$defs/rates\"},\n"
	             "\"routes\":{\"type\":\"object\",\"additionalProperties\":{\"$ref\":\"#/$defs/route\"}}");
	write_schema_settings(b);
	return buf_add_z(b, "}}\n");
}
