/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the configuration means for an api process, at the start and at SIGHUP. A file with a mistake does not start a
 * process and does not change a running one; every mistake is named.
 */
#include "api/api_private.h"

#include <stdio.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/file.h"
#include "common/log.h"

static void start_log(void)
{
	enum log_level level = LOG_INFO;
	log_parse_level(str_from(conf_now()->log_level), &level);
	log_init(level, str_eq_z(STR("text"), conf_now()->log_format) ? LOG_TEXT : LOG_JSON, "api");
}

int api_configure(const char *config_file)
{
	struct arena a;
	struct conf *conf;
	struct conf_mistake *mistakes;
	size_t n = 0;
	int status = 0;
	arena_init(&a, (size_t)64 << 20);
	if (conf_load(config_file, &a, &conf, &mistakes, &n) < 0) {
		for (size_t i = 0; i < n; i++)
			fprintf(stderr, "millrace api: %.*s: %.*s\n", STR_ARG(mistakes[i].path),
			        STR_ARG(mistakes[i].text));
		status = 1;
	} else {
		conf_set_now(conf);
		start_log();
		if (conf->database_url[0] == '\0') {
			fputs("millrace api: database.url is not set (MILLRACE_DATABASE_URL)\n", stderr);
			conf_set_now(NULL);
			status = 1;
		}
	}
	arena_done(&a);
	return status;
}

void api_guard(struct api *api)
{
	struct str all = str_from(conf_now()->webhook_allow), one;
	netguard_init(&api->guard);
	api->guard.https_only = conf_now()->webhook_https_only;
	while (str_split(&all, ' ', &one)) {
		struct err err = { 0 };
		if (one.n > 0 && netguard_allow(&api->guard, one, &err) < 0)
			log_event(LOG_ERROR, "bad_range", err.text, LOG_STR("webhook.allow", one), LOG_END);
	}
}

void api_limits(struct http_limits *ret)
{
	const struct conf *c = conf_now();
	*ret = (struct http_limits){
		.connections = (uint32_t)c->limits_connections,
		.head_bytes = (uint32_t)c->limits_head_bytes,
		.target_bytes = (uint32_t)c->limits_target_bytes,
		.header_count = (uint32_t)c->limits_headers,
		.body_bytes = (uint64_t)c->limits_body_bytes,
		.head_ms = (uint32_t)c->limits_head_ms,
		.body_ms = (uint32_t)c->limits_body_ms,
		.body_min_rate = (uint32_t)c->limits_body_rate,
		.idle_ms = (uint32_t)c->limits_idle_ms,
		.write_stall_ms = (uint32_t)c->limits_write_stall_ms,
	};
}

void api_on_reload(void *arg, int signum)
{
	struct api *api = arg;
	(void)signum;
	struct arena a;
	struct conf_mistake *mistakes;
	struct str ignored = { 0 };
	size_t n = 0;
	arena_init(&a, (size_t)64 << 20);
	if (conf_reload(&a, &ignored, &mistakes, &n) < 0) {
		for (size_t i = 0; i < n; i++)
			log_event(LOG_ERROR, "config_refused", "the running configuration stays",
			          LOG_STR("path", mistakes[i].path), LOG_STR("text", mistakes[i].text), LOG_END);
	} else {
		struct http_limits limits;
		enum log_level level = LOG_INFO;
		api_limits(&limits);
		if (api->server)
			http_server_limits(api->server, &limits);
		api_guard(api);
		log_parse_level(str_from(conf_now()->log_level), &level);
		log_set_level(level);
		log_event(LOG_INFO, "config_reloaded", "the new configuration is in force",
		          LOG_STR("needs_restart", ignored), LOG_END);
	}
	arena_done(&a);
}

void api_announce(struct api *api)
{
	struct arena a;
	arena_init(&a, 65536);
	struct str url = http_server_url(api->server, api->listen, &a);
	log_event(LOG_INFO, "serving", "the api serves", LOG_STR("url", url), LOG_I64("pid", getpid()), LOG_END);
	struct err err = { 0 };
	if (api->ready_file && file_write_ready(api->ready_file, arena_strz(&a, url), &err) < 0)
		log_event(LOG_ERROR, "ready_file", err.text, LOG_Z("file", api->ready_file), LOG_END);
	api->ready_file = NULL;
	arena_done(&a);
}
