/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One scenario: a fresh fleet → jobs at a steady rate, the fault from the first third of that time to the second → until all have ended →
 * a job per route every now and then, until each route is served by its best target again → what the database and the simulator know.
 *
 * The jobs are the same in every scenario: three sizes, several priorities, each tenth with the text of one before (for the cache). A text
 * begins with "tag:N", by which the simulator's calls are told apart.
 *
 * What can go wrong: a server that ends by itself, an interruption: the run ends. Jobs that do not end within the limit are the result of
 * the drill, not a failure of it.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/drill.h"
#include "common/clock.h"
#include "common/db/db_sync.h"

#define END_LIMIT_MS      60000
#define RECOVERY_LIMIT_MS 30000
#define RECOVERY_STEP_MS  250
#define LOOK_MS           100
#define FREEZE_MS         4000 /* beyond the lease, so that a frozen worker's jobs are taken over */
#define CALL_MS           10000
#define TEXT_MAX          16384

enum phase { BEFORE, FIRST, SECOND, AFTER };

struct running {
	struct drill *drill;
	struct drill_run *run;
	struct client *api;
	struct db_sync *db;
	struct arena scratch; /* for what is sent */
	enum phase phase;
	int64_t on_ms, middle_ms, off_ms; /* after the begin */
	uint64_t start_ms;
	struct term_bar bar;
	bool shows; /* the bar */
	struct err *err;
};

static int64_t wall_ms(void)
{
	return clock_wall_us() / 1000;
}

static int64_t since_start(const struct running *x)
{
	return (int64_t)(clock_mono_ms() - x->start_ms);
}

/* --- whom it talks to --- */

static int open_clients(struct running *x)
{
	const struct drill_fleet *f = &x->drill->fleet;
	const struct client_cfg api = { .url = f->api.url, .key = f->keys.api, .timeout_ms = CALL_MS };
	int rc = client_open(&api, &x->api, x->err);
	return rc < 0 ? rc : db_sync_open(f->database, "millrace drill", 10, &x->db, x->err);
}

/* One for each question: between them minutes may pass, and a client's idle connections are looked after only while it calls. */
static int ask_simulator(struct running *x, const struct client_request *request)
{
	const struct client_cfg cfg = { .url = x->drill->fleet.simulator_url, .key = "none", .timeout_ms = CALL_MS };
	struct client_answer answer = { 0 };
	struct client *c = NULL;
	int rc = client_open(&cfg, &c, x->err);
	if (rc >= 0) {
		rc = client_call(c, request, &answer);
		if (rc < 0)
			err_set(x->err, answer.err.code, "the simulator, at " STR_FMT ": %s", STR_ARG(request->path), answer.err.text);
	}
	client_answer_done(&answer);
	client_close(c);
	return rc;
}

/* --- jobs --- */

static void add_text(struct buf *b, size_t number, size_t bytes)
{
	static const char *const sentences[] = {
		"The seller delivers the goods to the buyer's warehouse on the first of the month. ",
		"Payment of 1,250.00 is due thirty days after the invoice. ",
		"Either party may end this agreement with three months' notice. ",
		"Spare parts are kept for ten years, and prices follow the list of that year. ",
		"The carrier is liable from the moment at which the goods are taken over. ",
	};
	buf_printf(b, "tag:j%zu What does document %zu say? ", number, number);
	for (size_t i = number; b->n < bytes; i++)
		buf_add_z(b, sentences[i % ARRAY_LEN(sentences)]);
}

/* number: of the text. */
static struct str job_body(struct running *x, const struct conf_route *route, const char *kind, size_t at, size_t number)
{
	static const size_t sizes[] = { 200, 300, 250, 2500, 400, 350, 9000 };
	static const int priorities[] = { 4, 4, 1, 4, 7, 4, 4, 7, 4, 0 };
	struct buf text, b;
	buf_init(&text, TEXT_MAX);
	buf_init(&b, 4 * TEXT_MAX);
	add_text(&text, number, sizes[number % ARRAY_LEN(sizes)]);
	buf_add_z(&b, "{\"route\":");
	buf_add_json_str(&b, route->name);
	buf_printf(&b, ",\"priority\":%d,\"metadata\":{\"drill\":\"%s\",\"number\":\"%zu\"},", priorities[at % ARRAY_LEN(priorities)], kind, at);
	buf_add_z(&b, "\"request\":{\"max_tokens\":100,\"messages\":[{\"role\":\"system\",\"content\":\"You read contracts. Answer in one "
	              "sentence.\"},{\"role\":\"user\",\"content\":");
	buf_add_json_str(&b, buf_str(&text));
	buf_add_z(&b, "}]}}");
	struct str s = arena_str(&x->scratch, buf_str(&b));
	buf_done(&text);
	buf_done(&b);
	return s;
}

/* The id that the job got, or NULL: it was refused. */
static const char *submit(struct running *x, struct str body, const char *key)
{
	struct client_answer answer;
	const struct client_request request = { .method = "POST", .path = STR("/v1/jobs"), .body = body, .idempotency_key = key, .timeout_ms = CALL_MS };
	const char *id = NULL;
	if (client_call(x->api, &request, &answer) == 0)
		id = arena_strz(&x->drill->arena, json_str(answer.body, "id"));
	client_answer_done(&answer);
	return id && *id ? id : NULL;
}

static void submit_job(struct running *x, size_t i)
{
	struct drill_job *j = &x->run->jobs[i];
	const struct conf_route *route = &x->drill->twins.conf->routes[j->route];
	arena_done(&x->scratch);
	arena_init(&x->scratch, 1 << 20);
	struct str body = job_body(x, route, "load", i, j->same_as);
	j->id = submit(x, body, arena_printf(&x->scratch, "drill-%s-%zu", x->run->scenario->name, i).p);
	j->accepted_ms = wall_ms();
	x->run->accepted += j->id != NULL;
}

/* Each route's jobs are spread over the time: the one that is most behind comes next. */
static void make_jobs(struct drill *d, struct drill_run *r)
{
	const struct drill_load *l = &d->load;
	size_t nroutes = d->twins.conf->nroutes, *given = arena_array(&d->arena, size_t, nroutes), *last = arena_array(&d->arena, size_t, nroutes);
	r->njobs = l->n;
	r->jobs = arena_array(&d->arena, struct drill_job, r->njobs);
	for (size_t k = 0; k < nroutes; k++)
		last[k] = SIZE_MAX;
	for (size_t i = 0; i < r->njobs; i++) {
		size_t best = nroutes;
		for (size_t k = 0; k < nroutes; k++)
			if (given[k] < l->of_route[k] && (best == nroutes || given[k] * l->of_route[best] < given[best] * l->of_route[k]))
				best = k;
		given[best]++;
		bool repeats = given[best] % 10 == 0 && last[best] != SIZE_MAX;
		r->jobs[i] = (struct drill_job){ .route = best, .same_as = repeats ? last[best] : i, .first_ms = -1 };
		last[best] = repeats ? last[best] : i;
	}
}

/* --- the fault --- */

static int control(struct running *x, int part)
{
	struct arena a;
	arena_init(&a, 8 << 20);
	const struct client_request request = { .method = "POST",
		                                .path = STR("/_control"),
		                                .body = drill_scenario_script(x->run->scenario, &x->drill->twins, part, &a),
		                                .repeat = true };
	int rc = ask_simulator(x, &request);
	arena_done(&a);
	return rc;
}

static int begin_fault(struct running *x)
{
	x->run->fault_on_ms = wall_ms();
	x->phase = FIRST;
	if (x->run->scenario->fleet) {
		drill_fleet_kill_worker(&x->drill->fleet, 0);
		drill_fleet_freeze_worker(&x->drill->fleet, 1);
	}
	return control(x, 0);
}

static int end_fault(struct running *x)
{
	x->phase = AFTER;
	int rc = x->run->scenario->fleet ? drill_fleet_mend(&x->drill->fleet, x->err) : 0;
	if (rc >= 0)
		rc = control(x, -1);
	x->run->fault_off_ms = wall_ms();
	return rc;
}

/* What is due by now. */
static int move_fault(struct running *x)
{
	int64_t now = since_start(x);
	int rc = 0;
	if (x->run->scenario == &drill_calm)
		return 0;
	if (x->phase == BEFORE && now >= x->on_ms)
		rc = begin_fault(x);
	if (rc >= 0 && x->phase == FIRST && now >= x->middle_ms) {
		x->phase = SECOND;
		rc = control(x, 1);
	}
	if (rc >= 0 && x->phase == SECOND && now >= x->off_ms)
		rc = end_fault(x);
	return rc;
}

/* --- waiting --- */

static int count_ended(struct running *x, const char *kind, struct term_counts *ret)
{
	const char *const params[] = { kind };
	int rc = db_sync_query(x->db,
	                       "select count(*) filter (where o.status = 3), count(*) filter (where o.status = 4), count(*) filter (where o.status = 6),"
	                       " (select count(*) from lease) from outcome o join job j on j.bucket = o.bucket and j.id = o.job_id"
	                       " where (j.metadata::json)->>'drill' = $1",
	                       1, params, x->err);
	if (rc < 0)
		return rc;
	int64_t n[4] = { 0 };
	for (int i = 0; i < 4; i++)
		(void)str_i64(str_from(db_sync_get(x->db, 0, i)), 0, INT64_MAX, &n[i]);
	*ret = (struct term_counts){ .succeeded = n[0], .failed = n[1], .expired = n[2], .running = n[3], .rate_per_s = -1, .eta_ms = -1 };
	return 0;
}

static int64_t sum_ended(const struct term_counts *c)
{
	return c->succeeded + c->failed + c->expired + c->canceled;
}

/* Looks how far they are: shows it, and says how many have ended. */
static int look(struct running *x, int64_t *ret_ended)
{
	struct term_counts c;
	int rc = count_ended(x, "load", &c);
	if (rc < 0)
		return rc;
	*ret_ended = sum_ended(&c);
	c.total = (int64_t)x->run->njobs;
	c.running = MIN(c.running, c.total - *ret_ended);
	c.queued = MAX((int64_t)x->run->accepted - *ret_ended - c.running, (int64_t)0);
	if (x->shows)
		term_bar_update(&x->bar, &c, clock_mono_ms());
	const char *gone = drill_fleet_ended(&x->drill->fleet);
	return gone ? err_set(x->err, ERR_INTERNAL, "%s ended by itself in the middle of the drill", gone) : 0;
}

/* Submits them, each at its time, while the fault comes and goes. */
static int load(struct running *x)
{
	int64_t ended, load_ms = x->drill->load.load_ms, looked = 0;
	for (size_t i = 0; i < x->run->njobs; i++) {
		int64_t due = load_ms * (int64_t)i / (int64_t)x->run->njobs;
		int rc = move_fault(x);
		if (rc >= 0 && since_start(x) >= looked + LOOK_MS) {
			looked = since_start(x);
			rc = look(x, &ended);
		}
		if (rc >= 0)
			rc = drill_fleet_sleep(&x->drill->fleet, due - since_start(x));
		if (rc < 0)
			return rc;
		submit_job(x, i);
	}
	return 0;
}

/* Until the fault is over and all have ended; not all within the limit is no failure of this. */
static int wait_all(struct running *x)
{
	int64_t ended = 0, limit = MAX(since_start(x), x->off_ms) + END_LIMIT_MS;
	for (;;) {
		int rc = move_fault(x);
		if (rc >= 0)
			rc = look(x, &ended);
		if (rc < 0)
			return rc;
		bool over = x->phase == AFTER || x->run->scenario == &drill_calm;
		if (over && ended >= (int64_t)x->run->accepted)
			return 0;
		if (over && since_start(x) >= limit) {
			x->run->timed_out = true;
			return 0;
		}
		rc = drill_fleet_sleep(&x->drill->fleet, LOOK_MS);
		if (rc < 0)
			return rc;
	}
}

/* --- recovery --- */

/* Whether a job of the route that began after the fault was served by its best, and that target's breaker is closed. */
static int has_recovered(struct running *x, const struct conf_route *route, bool *ret)
{
	bool ordered = route->main.choose == CHOOSE_ORDERED;
	struct arena *a = &x->scratch;
	const char *const params[] = { arena_strz(a, route->name), arena_strz(a, ordered ? route->targets[0]->name : STR("")), ordered ? "0" : "1" };
	int rc = db_sync_query(x->db,
	                       "select exists (select 1 from outcome o join job j on j.bucket = o.bucket and j.id = o.job_id where j.route = $1"
	                       " and (j.metadata::json)->>'drill' = 'recovery' and o.status = 3 and o.level <= $3::int)"
	                       " and not exists (select 1 from target_state where name = $2 and breaker <> 0)",
	                       3, params, x->err);
	*ret = rc >= 0 && str_eq_z(str_from(db_sync_get(x->db, 0, 0)), "t");
	return rc;
}

/* A round: a job for each route that has not; how many those are. */
static int recovery_round(struct running *x, size_t *number, size_t *ret_missing)
{
	const struct conf *c = x->drill->twins.conf;
	*ret_missing = 0;
	arena_done(&x->scratch);
	arena_init(&x->scratch, 1 << 20);
	for (size_t i = 0; i < c->nroutes; i++) {
		bool recovered;
		int rc = has_recovered(x, &c->routes[i], &recovered);
		if (rc < 0)
			return rc;
		if (recovered)
			continue;
		++*ret_missing;
		x->run->not_recovered = arena_strz(&x->drill->arena, c->routes[i].name);
		size_t n = (*number)++;
		struct str body = job_body(x, &c->routes[i], "recovery", 100000 + n * 10, 100000 + n * 7);
		x->run->recovery_jobs += submit(x, body, arena_printf(&x->scratch, "drill-recovery-%s-%zu", x->run->scenario->name, n).p) != NULL;
	}
	return 0;
}

static int recover(struct running *x)
{
	uint64_t start = clock_mono_ms(), limit = start + RECOVERY_LIMIT_MS;
	size_t number = 0, missing = 1;
	x->run->recovered_ms = -1;
	while (missing && clock_mono_ms() < limit) {
		int rc = recovery_round(x, &number, &missing);
		if (rc >= 0)
			rc = drill_fleet_sleep(&x->drill->fleet, missing ? RECOVERY_STEP_MS : 0);
		if (rc < 0)
			return rc;
	}
	if (!missing) {
		x->run->not_recovered = NULL;
		x->run->recovered_ms = wall_ms() - (x->run->fault_off_ms ? x->run->fault_off_ms : wall_ms() - (int64_t)(clock_mono_ms() - start));
	}
	/* They are jobs like others: none may be lost. */
	struct term_counts c = { 0 };
	while (clock_mono_ms() < limit + END_LIMIT_MS) {
		int rc = count_ended(x, "recovery", &c);
		if (rc < 0 || sum_ended(&c) >= (int64_t)x->run->recovery_jobs)
			break;
		rc = drill_fleet_sleep(&x->drill->fleet, LOOK_MS);
		if (rc < 0)
			return rc;
	}
	x->run->recovery_ended = (size_t)sum_ended(&c);
	return 0;
}

/* --- all of it --- */

static int forget_calls(struct running *x)
{
	const struct client_request request = { .method = "POST", .path = STR("/_control/stats/reset"), .repeat = true };
	int rc = ask_simulator(x, &request);
	return rc < 0 ? rc : control(x, -1);
}

static int run_parts(struct running *x)
{
	int64_t load_ms = x->drill->load.load_ms;
	x->on_ms = load_ms / 3;
	x->off_ms = x->run->scenario->fleet ? MAX(load_ms * 2 / 3, x->on_ms + FREEZE_MS) : load_ms * 2 / 3;
	x->middle_ms = (x->on_ms + x->off_ms) / 2;
	int rc = open_clients(x);
	if (rc >= 0)
		rc = forget_calls(x);
	x->start_ms = clock_mono_ms();
	if (rc >= 0)
		rc = load(x);
	if (rc >= 0)
		rc = wait_all(x);
	if (x->shows)
		term_bar_hide(&x->bar);
	if (rc >= 0)
		rc = recover(x);
	return rc < 0 ? rc : drill_facts_read(x->drill, x->run, x->err);
}

int drill_run(struct drill *d, struct drill_run *r, struct err *err)
{
	struct running x = { .drill = d, .run = r, .err = err };
	x.shows = !d->quiet && d->term.tty;
	term_bar_init(&x.bar, &d->term, r->scenario->name);
	arena_init(&x.scratch, 1 << 20);
	make_jobs(d, r);
	int rc = drill_fleet_start(&d->fleet, r->scenario->name, d->twins.file, err);
	if (rc >= 0)
		rc = run_parts(&x);
	if (x.shows)
		term_bar_hide(&x.bar);
	db_sync_close(x.db);
	client_close(x.api);
	arena_done(&x.scratch);
	drill_fleet_stop(&d->fleet);
	return rc;
}
