/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a worker process.
 *
 *   start   configuration, loop, database, HTTP clients, parts; the ready file is written when the first heartbeat was answered
 *   run     claims and runs jobs; SIGHUP reads the configuration again
 *   drain   SIGTERM or SIGINT: no new claims; running calls get worker.grace, then their jobs go back to the queue, uncounted; a
 *           second signal makes the grace zero
 *   stop    when no job, write or claim is left: says farewell to table worker, closes everything, exits 0
 */
#include "worker/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/file.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/execution/cache.h"
#include "worker/queue/claim.h"
#include "worker/execution/execution.h"
#include "worker/job.h"
#include "worker/queue/lane_routes.h"
#include "worker/queue/lanes.h"
#include "worker/queue/lease.h"
#include "worker/limits/limiter.h"
#include "worker/execution/live.h"
#include "worker/queue/notify.h"
#include "worker/queue/record.h"
#include "worker/status.h"
#include "worker/targets/targets.h"
#include "worker/queue/tenants.h"
#include "worker/upkeep.h"
#include "worker/webhooks/webhook.h"

#define DRAIN_LOOK_MS 10

struct process {
	struct worker worker;
	struct loop loop;
	struct status *status; /* NULL: worker.listen is empty */
	const char *ready_file;
	struct timer ready_timer, drain_timer;
	uint64_t drain_until_ms;
	bool aborted, closing;
	int open; /* parts whose close was not reported yet */
};

uint64_t worker_jitter(uint64_t n)
{
	uint64_t r;
	crypto_random(&r, sizeof r);
	return n ? r % n : 0;
}

static void fill_guard(struct netguard *g)
{
	struct str left = str_from(conf_now()->webhook_allow), part;
	netguard_init(g);
	g->https_only = conf_now()->webhook_https_only;
	while (str_split(&left, ' ', &part)) {
		struct err err = { 0 };
		if (part.n && netguard_allow(g, part, &err) < 0)
			log_event(LOG_ERROR, "bad_setting", err.text, LOG_Z("setting", "webhook.allow"), LOG_END);
	}
}

static void reload(struct process *p)
{
	struct arena a;
	struct str ignored = { 0 };
	struct conf_mistake *mistakes;
	size_t n;
	arena_init(&a, 1 << 20);
	if (conf_reload(&a, &ignored, &mistakes, &n) < 0) {
		for (size_t i = 0; i < n; i++)
			log_event(LOG_ERROR, "reload_refused", "the running configuration stays", LOG_STR("path", mistakes[i].path),
			          LOG_STR("mistake", mistakes[i].text), LOG_END);
	} else {
		enum log_level level;
		if (log_parse_level(str_from(conf_now()->log_level), &level) == 0)
			log_set_level(level);
		fill_guard(&p->worker.guard);
		log_event(LOG_INFO, "reloaded", "took over the configuration", LOG_STR("needs_restart", ignored), LOG_END);
	}
	arena_done(&a);
}

static void on_part_closed(void *arg)
{
	struct process *p = arg;
	p->open--;
}

/* Everything that the parts awaited is over: they can go. */
static void close_all(struct process *p)
{
	struct worker *w = &p->worker;
	p->closing = true;
	webhooks_free(w->webhooks);
	upkeep_free(w->upkeep);
	leases_free(w->leases);
	claimer_free(w->claimer);
	limiter_free(w->limiter);
	tenants_free(w->tenants);
	cache_free(w->cache);
	lanes_free(w->lanes);
	lane_routes_free(w->lane_routes);
	recorder_free(w->recorder);
	lives_free(w->lives);
	targets_free(w->targets);
	notifier_free(w->notifier);
	if (w->listener)
		db_listener_free(w->listener);
	p->open = 4;
	status_free(take(&p->status), on_part_closed, p);
	http_client_free(w->upstream, on_part_closed, p);
	http_client_free(w->outside, on_part_closed, p);
	db_free(w->db, on_part_closed, p);
	loop_signals_done(&p->loop);
}

static bool is_quiet(const struct worker *w)
{
	return w->jobs.n == 0 && recorder_waiting(w->recorder) == 0 && !claimer_is_busy(w->claimer) && webhooks_are_idle(w->webhooks);
}

static bool is_idle(const struct worker *w)
{
	return upkeep_is_idle(w->upkeep) && leases_are_idle(w->leases) && lanes_are_idle(w->lanes) && targets_are_idle(w->targets) &&
	       notifier_is_idle(w->notifier) && limiter_is_idle(w->limiter) && tenants_are_idle(w->tenants) &&
	       lives_are_idle(w->lives) && lane_routes_are_idle(w->lane_routes) && cache_is_idle(w->cache);
}

static void abort_jobs(struct process *p)
{
	p->aborted = true;
	if (p->worker.jobs.n > 0)
		log_event(LOG_WARN, "grace_over", "running jobs go back to the queue", LOG_I64("jobs", p->worker.jobs.n), LOG_END);
	webhooks_abort(p->worker.webhooks);
	LIST_EACH_SAFE(&p->worker.jobs, k, tmp)
		execution_cancel(container_of(k, struct job, link), -ERR_DRAINING);
}

static void on_drain_timer(struct timer *t)
{
	struct process *p = container_of(t, struct process, drain_timer);
	struct worker *w = &p->worker;
	if (!p->aborted && loop_now_ms(w->loop) >= p->drain_until_ms)
		abort_jobs(p);
	/* A claim that was in flight when the drain began may bring more. */
	if (p->aborted) {
		LIST_EACH_SAFE(&w->jobs, k, tmp)
			execution_cancel(container_of(k, struct job, link), -ERR_DRAINING);
		webhooks_abort(w->webhooks);
	}
	if (w->state == WORKER_DRAINING && is_quiet(w)) {
		w->state = WORKER_STOPPED;
		limiter_drain(w->limiter);
		leases_stop(w->leases);
		if (leases_are_good(w->leases))
			leases_beat_now(w->leases);
	}
	if (w->state == WORKER_STOPPED && is_idle(w)) {
		close_all(p);
		return;
	}
	timer_start(t, DRAIN_LOOK_MS);
}

static void on_stop_signal(void *arg, int signum)
{
	struct process *p = arg;
	struct worker *w = &p->worker;
	if (p->closing)
		return;
	if (w->state != WORKER_LIVE) {
		p->drain_until_ms = 0;
		return;
	}
	log_event(LOG_INFO, "draining", "no new claims", LOG_I64("signal", signum), LOG_I64("jobs", w->jobs.n), LOG_END);
	w->state = WORKER_DRAINING;
	p->drain_until_ms = loop_now_ms(w->loop) + (uint64_t)conf_now()->worker_grace_ms;
	leases_beat_now(w->leases);
	webhooks_drain(w->webhooks);
	timer_stop(&p->ready_timer);
	timer_start(&p->drain_timer, 0);
}

static void on_reload_signal(void *arg, int signum)
{
	(void)signum;
	reload(arg);
}

/* "LANE:PRIORITY" */
static void on_ready_notice(struct worker *w, struct str payload)
{
	struct str lane;
	uint64_t n, priority;
	if (!str_split(&payload, ':', &lane) || str_u64(lane, 0, INT32_MAX, &n) < 0 || str_u64(payload, 0, 9, &priority) < 0)
		return;
	lanes_hint(w->lanes, (int)n, (int)priority);
	claimer_wake(w->claimer);
}

static void on_notice(void *arg, struct str channel, struct str payload)
{
	struct worker *w = arg;
	if (w->state != WORKER_LIVE)
		return;
	if (str_eq_z(channel, "millrace_ready"))
		on_ready_notice(w, payload);
	else if (str_eq_z(channel, "millrace_targets"))
		targets_hint(w->targets);
	else if (str_eq_z(channel, "millrace_cache"))
		cache_hint(w->cache);
	else
		leases_look_for_cancels(w->leases);
}

static void on_notices_lost(void *arg)
{
	struct worker *w = arg;
	if (w->state == WORKER_LIVE) {
		claimer_look(w->claimer);
		targets_hint(w->targets);
	}
}

static void on_db_change(void *arg, bool up)
{
	struct worker *w = arg;
	log_event(up ? LOG_INFO : LOG_WARN, up ? "database_up" : "database_down",
	          up ? "connected to the database" : "no connection to the database: running calls go on, nothing new is claimed",
	          LOG_Z("why", up ? "" : db_why_down(w->db)), LOG_END);
	if (up && w->state == WORKER_LIVE && w->claimer)
		claimer_look(w->claimer);
}

static void on_ready_timer(struct timer *t)
{
	struct process *p = container_of(t, struct process, ready_timer);
	if (!leases_are_good(p->worker.leases)) {
		timer_start(t, 5);
		return;
	}
	struct arena a;
	arena_init(&a, 65536);
	const char *url = p->status ? arena_strz(&a, status_url(p->status, &a)) : NULL;
	log_event(LOG_INFO, "worker_ready", "claims jobs", LOG_I64("pid", getpid()), LOG_I64("slots", conf_now()->worker_slots),
	          LOG_Z("url", url ? url : ""), LOG_END);
	struct err err = { 0 };
	if (p->ready_file && file_write_ready(p->ready_file, url, &err) < 0)
		log_event(LOG_ERROR, "ready_file", err.text, LOG_END);
	arena_done(&a);
}

static void start_database(struct worker *w)
{
	const struct conf *c = conf_now();
	struct db_cfg cfg = { .url = c->database_url, .application = "millrace worker", .connections = (int)c->database_connections,
		              .depth = (int)c->database_depth, .max_waiting = 100000, .pooler = c->database_pooler,
		              .statement_timeout_ms = (int)c->database_statement_timeout_ms, .deadline_ms = (int)c->database_deadline_ms };
	w->db = db_new(w->loop, &cfg);
	db_on_change(w->db, on_db_change, w);
	bool direct = c->database_listen_url[0] != '\0';
	if (!c->queue_notify || (c->database_pooler && !direct))
		return;
	static const char *const channels[] = { "millrace_ready", "millrace_cancel", "millrace_targets", "millrace_cache" };
	struct db_cfg listen_cfg = cfg;
	listen_cfg.url = direct ? c->database_listen_url : c->database_url;
	listen_cfg.pooler = false;
	w->listener = db_listen(w->loop, &listen_cfg, channels, ARRAY_LEN(channels), on_notice, on_notices_lost, w);
}

static void start_parts(struct worker *w)
{
	const struct conf *c = conf_now();
	struct http_client_cfg up = { .connections = (uint32_t)c->worker_connections, .per_host = (uint32_t)c->worker_connections,
		                      .idle_ms = 60000, .user_agent = "millrace/" MR_VERSION };
	struct http_client_cfg out = { .connections = (uint32_t)c->webhook_concurrency, .per_host = (uint32_t)c->webhook_concurrency,
		                       .idle_ms = 10000, .user_agent = "millrace-webhook/" MR_VERSION, .guard = &w->guard };
	fill_guard(&w->guard);
	start_database(w);
	w->upstream = http_client_new(w->loop, &up);
	w->outside = http_client_new(w->loop, &out);
	w->notifier = notifier_new(w);
	w->targets = targets_new(w);
	w->recorder = recorder_new(w);
	w->lives = lives_new(w);
	w->lanes = lanes_new(w);
	w->tenants = tenants_new(w);
	w->limiter = limiter_new(w);
	w->lane_routes = lane_routes_new(w);
	w->cache = cache_new(w);
	w->claimer = claimer_new(w);
	w->leases = leases_new(w);
	w->webhooks = webhooks_new(w);
	w->upkeep = upkeep_new(w);
}

static int load_configuration(const char *file)
{
	struct arena a;
	struct conf *conf;
	struct conf_mistake *mistakes;
	size_t n;
	arena_init(&a, 1 << 20);
	int rc = conf_load(file, &a, &conf, &mistakes, &n);
	for (size_t i = 0; rc < 0 && i < n; i++)
		fprintf(stderr, "millrace worker: " STR_FMT ": " STR_FMT "\n", STR_ARG(mistakes[i].path), STR_ARG(mistakes[i].text));
	arena_done(&a);
	if (rc < 0)
		return rc;
	conf_set_now(conf);
	enum log_level level = LOG_INFO;
	(void)log_parse_level(str_from(conf->log_level), &level);
	log_init(level, str_eq_z(str_from(conf->log_format), "text") ? LOG_TEXT : LOG_JSON, "worker");
	if (conf->database_url[0] == '\0') {
		fputs("millrace worker: database.url is not set (MILLRACE_DATABASE_URL)\n", stderr);
		return -ERR_CONFIG;
	}
	return 0;
}

int worker_run(const char *config_file, const char *ready_file)
{
	struct process *p = calloc(1, sizeof *p);
	assert(p);
	log_init(LOG_INFO, LOG_JSON, "worker");
	if (load_configuration(config_file) < 0) {
		free(p);
		return 1;
	}
	metrics_init();
	signal(SIGPIPE, SIG_IGN);
	loop_init(&p->loop);
	struct worker *w = &p->worker;
	w->loop = &p->loop;
	w->id = id_make(-1);
	list_init(&w->jobs);
	p->ready_file = ready_file;
	struct err err = { 0 };
	if (status_start(w, &p->status, &err) < 0) {
		log_event(LOG_ERROR, "listen_failed", err.text, LOG_Z("worker.listen", conf_now()->worker_listen), LOG_END);
		loop_done(&p->loop);
		conf_set_now(NULL);
		free(p);
		return 1;
	}
	start_parts(w);
	timer_init(&p->ready_timer, w->loop, on_ready_timer);
	timer_init(&p->drain_timer, w->loop, on_drain_timer);
	timer_start(&p->ready_timer, 1);
	loop_on_signal(w->loop, SIGTERM, on_stop_signal, p);
	loop_on_signal(w->loop, SIGINT, on_stop_signal, p);
	loop_on_signal(w->loop, SIGHUP, on_reload_signal, p);
	loop_run(&p->loop);
	assert(p->open == 0);
	loop_done(&p->loop);
	log_event(LOG_INFO, "stopped", "bye", LOG_END);
	metrics_done();
	conf_set_now(NULL);
	free(p);
	return 0;
}
