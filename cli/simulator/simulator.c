/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator's process: command line, listener, routes, stop. It answers chats (also as streams) and embeddings in
 * the forms of all providers (format.h); a script, given at the start or sent to /_control, orders latencies, errors,
 * cuts and hangs per model; /_control/stats, /_control/calls and /_control/windows tell what was asked.
 *
 * SIGTERM and SIGINT stop it at once: all connections are closed, whatever they wait for.
 */
#include "cli/simulator/simulator.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "cli/exit.h"
#include "cli/options.h"
#include "cli/simulator/sim.h"
#include "common/file.h"

#define SCRIPT_FILE_MAX (16u << 20)

static const char *const usual_models[] = { "gpt-4o", "gpt-4o-mini", "sim-extract", "text-embedding-3-large",
	                                    "text-embedding-3-small" };

void sim_reply_error(struct http_req *req, int status, const char *param, const char *code, struct str message)
{
	struct buf b;
	struct failure f = { .kind = error_class_of(status), .status = status, .message = message, .code = code };
	f.param = param && *param ? param : NULL;
	buf_init(&b, 1u << 20);
	format_openai.write_error(&b, &f);
	http_reply(req, status, STR("application/json"), buf_str(&b));
	buf_done(&b);
}

const char *sim_answer_id(struct sim *sim, struct arena *a, const char *prefix)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	char out[30] = { 0 };
	uint64_t z = 0;
	for (size_t i = 0; i < 29; i++) {
		if (i % 10 == 0) {
			z = sim->id_state += 0x9e3779b97f4a7c15u; /* splitmix64 */
			z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
			z ^= z >> 27;
		}
		out[i] = digits[z % 62];
		z /= 62;
	}
	return arena_printf(a, "%s%s", prefix, out).p;
}

static void write_model(struct buf *b, struct str name)
{
	buf_add_z(b, "{\"id\":");
	buf_add_json_str(b, name);
	buf_add_z(b, ",\"object\":\"model\",\"created\":1735689600,\"owned_by\":\"simulator\"}");
}

static void list_models(struct sim *sim, struct http_req *req)
{
	struct buf b;
	buf_init(&b, 1u << 20);
	buf_add_z(&b, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < ARRAY_LEN(usual_models); i++) {
		buf_add_z(&b, i ? "," : "");
		write_model(&b, str_from(usual_models[i]));
	}
	for (size_t i = 0; i + 1 < sim->script->nrules; i++) {
		struct str name = str_from(sim->script->rules[i].pattern);
		bool usual = false;
		for (size_t k = 0; k < ARRAY_LEN(usual_models); k++)
			usual |= str_eq_z(name, usual_models[k]);
		if (usual || sim->script->rules[i].unknown || str_find_char(name, '*') >= 0 ||
		    str_find_char(name, '?') >= 0)
			continue;
		buf_add_char(&b, ',');
		write_model(&b, name);
	}
	buf_add_z(&b, "]}");
	http_reply(req, 200, STR("application/json"), buf_str(&b));
	buf_done(&b);
}

static const struct route {
	enum http_method method;
	const char *method_name, *path;
	void (*fn)(struct sim *sim, struct http_req *req);
} routes[] = {
	{ HTTP_GET, "GET", "/v1/models", list_models },
	{ HTTP_GET, "GET", "/_control", control_get },
	{ HTTP_POST, "POST", "/_control", control_post },
	{ HTTP_GET, "GET", "/_control/stats", control_stats },
	{ HTTP_GET, "GET", "/_control/calls", control_calls },
	{ HTTP_GET, "GET", "/_control/windows", control_windows },
	{ HTTP_POST, "POST", "/_control/stats/reset", control_stats_reset },
};

static void on_head(struct http_req *req)
{
	req->route = "simulator";
}

static void not_allowed(struct http_req *req, const char *allowed)
{
	http_reply_header(req, "Allow", str_from(allowed));
	sim_reply_error(req, 405, NULL, "method_not_supported",
	                arena_printf(&req->arena, "Not allowed to " STR_FMT " on " STR_FMT ".",
	                             STR_ARG(req->method_text), STR_ARG(str_utf8_prefix(req->path, 500))));
}

static void on_end(struct http_req *req)
{
	struct sim *sim = http_server_user(req->server);
	const struct route *other = NULL;
	const struct format *format;
	struct str model;
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (!str_eq_z(req->path, routes[i].path))
			continue;
		if (req->method == routes[i].method) {
			routes[i].fn(sim, req);
			return;
		}
		other = &routes[i];
	}
	const struct endpoint *endpoint = other ? NULL : format_find(req->path, &format, &model);
	if (other)
		not_allowed(req, other->method_name);
	else if (endpoint && req->method != HTTP_POST)
		not_allowed(req, "POST");
	else if (endpoint)
		call_start(sim, req, format, endpoint, model);
	else
		sim_reply_error(req, 404, NULL, "unknown_url",
		                arena_printf(&req->arena,
		                             "Unknown request URL: " STR_FMT " " STR_FMT
		                             ". Please check the URL for typos.",
		                             STR_ARG(req->method_text), STR_ARG(str_utf8_prefix(req->path, 500))));
}

/* A request without a call (its body was still coming) ends here; a call ends itself. */
static void on_gone(struct http_req *req)
{
	if (req->user)
		call_gone(req->user);
	else
		http_reply_abort(req);
}

static void on_refuse(struct http_req *req, const struct err *err)
{
	sim_reply_error(req, err_http_status((int)err->code), NULL, err_code_name((int)err->code), str_from(err->text));
}

static void on_signal(void *arg, int signum)
{
	struct sim *sim = arg;
	(void)signum;
	loop_signals_done(&sim->loop);
	http_server_free(take(&sim->server), NULL, NULL);
}

static int read_script(struct sim *sim, const char *file, struct err *err)
{
	struct arena a;
	struct str text;
	_cleanup_(json_drop) json_t *patch = NULL;
	arena_init(&a, SCRIPT_FILE_MAX + 4096);
	int rc = file_read(file, SCRIPT_FILE_MAX, &a, &text, err);
	if (rc == 0) {
		patch = json_parse(text, err);
		rc = patch ? script_merge(&sim->script, patch, err) : -ERR_BAD_JSON;
		if (rc < 0)
			err_wrap(err, "%s", file);
	}
	arena_done(&a);
	return rc;
}

/* Ten thousand calls in flight are ten thousand descriptors. */
static void raise_descriptors(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int serve(struct sim *sim, const char *listen, const char *ready_file, struct err *err)
{
	static const struct http_limits limits = {
		.connections = 30000,
		.head_bytes = 65536,
		.target_bytes = 8192,
		.header_count = 200,
		.body_bytes = 64u << 20,
		.head_ms = 30000,
		.body_ms = 60000,
		.body_min_rate = 1024,
		.idle_ms = 300000,
		.write_stall_ms = 60000,
	};
	static const struct http_handler handler = {
		.on_head = on_head, .on_end = on_end, .on_gone = on_gone, .on_refuse = on_refuse
	};
	struct buf url;
	int rc = http_server_start(&sim->loop, listen, false, &limits, &handler, sim, &sim->server, err);
	if (rc < 0)
		return rc;
	buf_init(&url, 4096);
	struct str host = str_from(listen);
	if (str_has_prefix(host, STR("unix:"))) {
		buf_add_str(&url, host);
	} else {
		while (host.n > 0 && host.p[host.n - 1] != ':')
			host.n--;
		buf_printf(&url, "http://" STR_FMT "%d", STR_ARG(host), http_server_port(sim->server));
	}
	buf_add_char(&url, '\0');
	loop_on_signal(&sim->loop, SIGTERM, on_signal, sim);
	loop_on_signal(&sim->loop, SIGINT, on_signal, sim);
	rc = ready_file ? file_write_ready(ready_file, url.p, err) : 0;
	if (rc == 0) {
		printf("millrace simulator: listening; the base URL is %s/v1\n", url.p);
		fflush(stdout);
	} else {
		on_signal(sim, SIGTERM);
	}
	buf_done(&url);
	loop_run(&sim->loop);
	return rc;
}

int simulator_main(int argc, char **argv)
{
	const char *listen = "127.0.0.1:0", *script = NULL, *ready_file = NULL;
	const struct cli_option options[] = {
		{ .name = "listen",
		  .arg = "H:P",
		  .kind = CLI_STR,
		  .target = &listen,
		  .help = "Where to listen (default 127.0.0.1:0, any free port)" },
		{ .name = "script",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &script,
		  .help = "Behaviours per model, as for POST /_control (JSON)" },
		{ .name = "ready-file",
		  .arg = "FILE",
		  .kind = CLI_STR,
		  .target = &ready_file,
		  .help = "Write {\"url\", \"pid\"} there once it listens" },
		{ .name = NULL },
	};
	const struct cli_command cmd = {
		.name = "simulator",
		.usage = "[options]",
		.options = options,
		.summary =
		    "Runs a provider that speaks OpenAI, Azure, Anthropic, Gemini and Bedrock over HTTP: answers "
		    "about the documents it gets, faults to order.",
		.details =
		    "A script says per model (a name or a pattern) what becomes of calls:\n"
		    "  {\"models\": {\"gpt-*\": {\"latency_ms\": 300, \"error_rate\": 0.1}}}\n"
		    "POST the same to /_control to change it while it runs; GET /_control/stats and /_control/calls\n"
		    "tell what was asked. SIGTERM and SIGINT stop it at once.",
	};
	struct cli_args args;
	struct err err = { .code = ERR_OK };
	struct sim sim = { .script = NULL };
	int status;
	if (!cli_parse(&cmd, argc, argv, &args, &status))
		return status;
	raise_descriptors();
	signal(SIGPIPE, SIG_IGN);
	loop_init(&sim.loop);
	stats_init(&sim.stats);
	meters_init(&sim.meters);
	crypto_random(&sim.id_state, sizeof(sim.id_state));
	sim.script = script_new();
	int rc = script ? read_script(&sim, script, &err) : 0;
	if (rc == 0)
		rc = serve(&sim, listen, ready_file, &err);
	if (rc < 0)
		fprintf(stderr, "millrace simulator: %s\n", err.text);
	script_unref(sim.script);
	stats_done(&sim.stats);
	meters_done(&sim.meters);
	loop_done(&sim.loop);
	return rc < 0 ? CLI_EXIT_FAILED : CLI_EXIT_OK;
}
