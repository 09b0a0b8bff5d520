/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits: what the fleet's limits and the breaker cost a call, in this process and in statements.
 *
 *   limits URL CONFIG SECONDS CALLS_PER_S
 *
 * URL is a migrated database, CONFIG a configuration whose first target has limits that never stop a call. For so long, every 10 ms so many calls begin as
 * the rate asks for, and end: the target is looked up, its gate is asked, all its limits are taken, the call's end is told to the target and settled with
 * the limits. Meanwhile slices are fetched and reports written as in a worker. Prints one JSON line: the calls, those that had to wait, the microseconds of
 * processor time for each of the whole process (what runs between the calls included) and of the calls alone, and the statements by kind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/clock.h"
#include "common/metrics.h"
#include "sql_worker.h"
#include "worker/limits/limiter.h"
#include "worker/queue/notify.h"
#include "worker/targets/targets.h"

#define STEP_MS    10
#define WARM_MS    1000
#define PATIENCE_S 30
#define TOGETHER   1000 /* calls that are out at once, at most */

struct call {
	struct limit_op op;
	struct limit_ticket ticket;
	bool done;
	int rc;
};

struct bench {
	struct loop loop;
	struct worker worker;
	struct timer timer;
	struct db_query registration;
	const struct conf_target *target;
	struct call calls[TOGETHER];
	int per_step;
	uint64_t made, waited;
	double in_calls_s;
	bool registered, closed;
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "limits: %s: %s\n", what, why);
	exit(1);
}

static double cpu_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void on_taken(struct op *op, int rc)
{
	struct call *c = container_of(container_of(op, struct limit_op, op), struct call, op);
	c->done = true;
	c->rc = rc;
}

static void begin(struct bench *b, struct call *c)
{
	struct gate_state g;
	struct worker *w = &b->worker;
	struct target_live *live = targets_find(w->targets, b->target);
	targets_gate(live, loop_now_ms(&b->loop), /* in_series= */ false, &g);
	if (g.gate != GATE_OPEN)
		die("the target is not open", g.why);
	const struct limit_ask ask = { .target = b->target, .tenant_id = 1, .tenant = STR("bench"), .input_tokens = 500, .output_tokens = 200 };
	c->op = (struct limit_op){ .op.on_done = on_taken };
	c->done = false;
	limiter_take(w->limiter, &c->op, &ask, &c->ticket, PATIENCE_S * 1000, NULL);
	targets_call_begins(live);
}

static void end(struct bench *b, struct call *c)
{
	struct worker *w = &b->worker;
	const struct target_call call = { .class = ERR_OK, .http_status = 200, .retry_after_ms = -1, .first_token_ms = 300, .total_ms = 2000,
		                          .request_bytes = 2048, .input_tokens = 480, .output_tokens = 150 };
	if (c->rc != 0)
		die("a call did not go", c->op.which ? c->op.which : "?");
	targets_called(w->targets, targets_find(w->targets, b->target), &call);
	limiter_settle(&c->ticket, 480, 150);
	b->made++;
}

/* One step's calls. Those that have to wait for their slice are waited for outside of what is measured as the calls' own time. */
static void step(struct bench *b)
{
	double start = cpu_s();
	for (int i = 0; i < b->per_step; i++)
		begin(b, &b->calls[i]);
	b->in_calls_s += cpu_s() - start;
	uint64_t limit = clock_mono_ms() + PATIENCE_S * 1000 + 1000;
	for (int i = 0; i < b->per_step; i++) {
		b->waited += !b->calls[i].done;
		while (!b->calls[i].done && clock_mono_ms() < limit)
			uv_run(&b->loop.uv, UV_RUN_ONCE);
		if (!b->calls[i].done)
			die("a call waits", "for ever");
	}
	start = cpu_s();
	for (int i = 0; i < b->per_step; i++)
		end(b, &b->calls[i]);
	b->in_calls_s += cpu_s() - start;
}

static void on_tick(struct timer *t)
{
	timer_start(t, STEP_MS);
}

/* Steps at their times, with the loop turning between them. */
static void run_for(struct bench *b, uint64_t ms)
{
	uint64_t next = clock_mono_ms(), until = next + ms;
	timer_start(&b->timer, STEP_MS);
	while (clock_mono_ms() < until) {
		if (clock_mono_ms() >= next) {
			step(b);
			next += STEP_MS;
		}
		uv_run(&b->loop.uv, clock_mono_ms() >= next ? UV_RUN_NOWAIT : UV_RUN_ONCE);
	}
	timer_stop(&b->timer);
}

static void on_closed(void *arg)
{
	*(bool *)arg = true;
}

static bool is_idle(const struct worker *w)
{
	return targets_are_idle(w->targets) && limiter_is_idle(w->limiter) && notifier_is_idle(w->notifier);
}

static void turn_until(struct bench *b, bool (*is)(const struct bench *b), const char *what)
{
	uint64_t limit = clock_mono_ms() + PATIENCE_S * 1000;
	timer_start(&b->timer, STEP_MS);
	while (!is(b)) {
		if (clock_mono_ms() > limit)
			die("it never came", what);
		uv_run(&b->loop.uv, UV_RUN_ONCE);
	}
	timer_stop(&b->timer);
}

static bool is_up(const struct bench *b)
{
	return db_is_up(b->worker.db);
}

static bool is_at_rest(const struct bench *b)
{
	return is_idle(&b->worker);
}

static bool is_closed(const struct bench *b)
{
	return b->closed;
}

static void on_registered(struct op *op, int rc)
{
	struct bench *b = container_of(container_of(op, struct db_query, op), struct bench, registration);
	if (rc < 0)
		die("the worker's row", b->registration.err.text);
	db_query_done(&b->registration);
	b->registered = true;
}

static bool is_registered(const struct bench *b)
{
	return b->registered;
}

/* Calls in flight are held by workers that are alive. */
static void register_worker(struct bench *b)
{
	db_query_init(&b->registration, &sql_worker_worker_register);
	b->registration.op.on_done = on_registered;
	db_arg_id(&b->registration.args, b->worker.id);
	db_arg_text(&b->registration.args, STR("bench"));
	db_arg_i32(&b->registration.args, 1);
	db_arg_i32(&b->registration.args, 1);
	db_arg_null(&b->registration.args);
	if (db_query_start(b->worker.db, &b->registration, NULL) < 0)
		die("the worker's row", b->registration.err.text);
	turn_until(b, is_registered, "the worker's row");
}

static void set_up(struct bench *b, const char *url, struct conf *conf)
{
	const struct db_cfg cfg = { .url = url, .application = "limits", .connections = 2, .depth = 4, .max_waiting = 100, .statement_timeout_ms = 10000,
		                    .deadline_ms = 10000 };
	struct worker *w = &b->worker;
	conf_set_now(conf);
	if (conf->ntargets == 0)
		die("the configuration", "has no target");
	b->target = &conf->targets[0];
	loop_init(&b->loop);
	timer_init(&b->timer, &b->loop, on_tick);
	*w = (struct worker){ .loop = &b->loop, .db = db_new(&b->loop, &cfg), .id = id_make(-1) };
	list_init(&w->jobs);
	turn_until(b, is_up, "the database");
	register_worker(b);
	w->notifier = notifier_new(w);
	w->targets = targets_new(w);
	w->limiter = limiter_new(w);
}

static void tear_down(struct bench *b)
{
	struct worker *w = &b->worker;
	w->state = WORKER_STOPPED;
	limiter_drain(w->limiter);
	turn_until(b, is_at_rest, "rest");
	limiter_free(w->limiter);
	targets_free(w->targets);
	notifier_free(w->notifier);
	db_free(w->db, on_closed, &b->closed);
	turn_until(b, is_closed, "the end of the database's connections");
	loop_done(&b->loop);
}

static const char *const statements[] = { "limit_take", "limit_prune", "target_read", "target_report", "target_register", "target_probe" };

static int64_t sent(size_t i)
{
	struct buf b;
	buf_init(&b, 256);
	buf_printf(&b, "%s\x1fok", statements[i]);
	buf_add_char(&b, '\0');
	int64_t n = metric_get(METRIC_DB_QUERIES, b.p);
	buf_done(&b);
	return n;
}

static void measure(struct bench *b, uint64_t seconds)
{
	int64_t before[ARRAY_LEN(statements)];
	run_for(b, WARM_MS);
	for (size_t i = 0; i < ARRAY_LEN(statements); i++)
		before[i] = sent(i);
	b->made = b->waited = 0;
	b->in_calls_s = 0;
	double start = cpu_s();
	run_for(b, seconds * 1000);
	double calls = (double)b->made, took = cpu_s() - start;
	printf("{\"calls\":%.0f,\"waited\":%llu,\"us\":%.3f,\"own_us\":%.3f", calls, (unsigned long long)b->waited, took * 1e6 / calls, b->in_calls_s * 1e6 / calls);
	for (size_t i = 0; i < ARRAY_LEN(statements); i++)
		printf(",\"%s\":%lld", statements[i], (long long)(sent(i) - before[i]));
	printf("}\n");
}

int main(int argc, char **argv)
{
	static struct bench b;
	struct conf_mistake *mistakes;
	struct conf *conf;
	struct arena arena;
	uint64_t seconds, rate;
	size_t n;
	if (argc < 5 || str_u64(str_from(argv[3]), 1, 600, &seconds) < 0 || str_u64(str_from(argv[4]), 100, 100000, &rate) < 0) {
		fprintf(stderr, "usage: limits URL CONFIG SECONDS CALLS_PER_S (100 to 100000)\n");
		return 2;
	}
	b.per_step = (int)(rate * STEP_MS / 1000);
	metrics_init();
	arena_init(&arena, 1 << 20);
	if (conf_load(argv[2], &arena, &conf, &mistakes, &n) < 0)
		die("the configuration has mistakes", argv[2]);
	set_up(&b, argv[1], conf);
	measure(&b, seconds);
	tear_down(&b);
	conf_set_now(NULL);
	arena_done(&arena);
	metrics_done();
	return 0;
}
