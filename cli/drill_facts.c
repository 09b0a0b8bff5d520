/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run left: jobs with outcomes and attempts, the targets' events from the private database; every call and the fullest minute of each
 * twin from the simulator. Nothing is judged here.
 *
 * Money is counted again in the database, from tokens and pinned prices, by the rule of worker/execution/cost.c: cached and written tokens are
 * part of the input and have prices of their own where these are known.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/drill.h"
#include "common/db/db_sync.h"

#define CALLS_PATH "/_control/calls?limit=100000"
#define CALL_MS    30000

static int64_t number_at(const struct db_sync *s, int row, int col, int64_t fallback)
{
	int64_t n;
	return str_i64(str_from(db_sync_get(s, row, col)), INT64_MIN, INT64_MAX, &n) == 0 ? n : fallback;
}

static const char jobs_sql[] =
    "with o as (select bucket, job_id, count(*) as outcomes, max(status) as status, max(level) as level, max(interruptions) as interruptions,"
    "    max(finished_at) as finished_at, min(started_at) as started_at, max(cost_nanousd) as cost from outcome group by bucket, job_id),"
    " priced as (select a.*, div((input_tokens - least(cached_input_tokens, input_tokens)"
    "        - least(cache_write_tokens, input_tokens - least(cached_input_tokens, input_tokens)))::numeric * coalesce(price_input, 0)"
    "      + least(cached_input_tokens, input_tokens)::numeric * coalesce(price_cached_input, price_input, 0)"
    "      + least(cache_write_tokens, input_tokens - least(cached_input_tokens, input_tokens))::numeric"
    "        * coalesce(price_cache_write, price_input, 0)"
    "      + output_tokens::numeric * coalesce(price_output, 0) + 500000, 1000000)::bigint as again from attempt a),"
    " p as (select bucket, job_id, count(*) as attempts, count(*) filter (where cost_nanousd is null) as unknown,"
    "    count(*) filter (where case when price_input is null or price_output is null then cost_nanousd <> 0"
    "      else cost_nanousd is distinct from again end) as bad,"
    "    case when bool_and(cost_nanousd is not null) then sum(cost_nanousd)::bigint end as cost,"
    "    min(first_token_ms) filter (where code = 'ok') as first_token from priced group by bucket, job_id)"
    " select (j.metadata::json)->>'number', coalesce(o.outcomes, 0), coalesce(o.status, 0), coalesce(o.level, 0),"
    "  (extract(epoch from o.finished_at - j.created_at) * 1000)::bigint, (extract(epoch from o.started_at - j.created_at) * 1000)::bigint,"
    "  p.first_token, coalesce(o.interruptions, 0), j.max_attempts, o.cost, coalesce(p.attempts, 0), coalesce(p.bad, 0),"
    "  o.job_id is not null and o.cost is distinct from case when p.job_id is null then 0 else p.cost end,"
    "  (extract(epoch from o.finished_at) * 1000)::bigint, coalesce(p.unknown, 0)"
    " from job j left join o on o.bucket = j.bucket and o.job_id = j.id left join p on p.bucket = j.bucket and p.job_id = j.id"
    " where (j.metadata::json)->>'drill' = 'load'";

static int read_jobs(struct db_sync *s, struct drill_run *r, struct err *err)
{
	int rc = db_sync_query(s, jobs_sql, 0, NULL, err);
	for (int i = 0; rc >= 0 && i < db_sync_rows(s); i++) {
		int64_t at = number_at(s, i, 0, -1);
		if (at < 0 || at >= (int64_t)r->njobs)
			continue;
		struct drill_job *j = &r->jobs[at];
		j->outcomes = (int)number_at(s, i, 1, 0);
		j->status = (int)number_at(s, i, 2, 0);
		j->level = (int)number_at(s, i, 3, 0);
		j->total_ms = number_at(s, i, 4, 0);
		j->wait_ms = number_at(s, i, 5, j->total_ms);
		j->first_ms = number_at(s, i, 6, -1);
		j->interruptions = number_at(s, i, 7, 0);
		j->max_attempts = number_at(s, i, 8, 0);
		j->cost_nanousd = number_at(s, i, 9, -1);
		j->attempts = number_at(s, i, 10, 0);
		j->bad_prices = number_at(s, i, 11, 0);
		j->sum_is_wrong = str_eq_z(str_from(db_sync_get(s, i, 12)), "t");
		j->ended_ms = number_at(s, i, 13, 0);
		j->unknown = number_at(s, i, 14, 0);
	}
	return rc;
}

static int read_events(struct db_sync *s, struct drill *d, struct drill_run *r, struct err *err)
{
	int rc = db_sync_query(s, "select name, kind, (extract(epoch from at) * 1000)::bigint from target_event order by id", 0, NULL, err);
	if (rc < 0)
		return rc;
	r->nevents = (size_t)db_sync_rows(s);
	r->events = arena_array(&d->arena, struct drill_event, r->nevents + 1);
	for (size_t i = 0; i < r->nevents; i++) {
		r->events[i].target = arena_strz(&d->arena, str_from(db_sync_get(s, (int)i, 0)));
		r->events[i].kind = arena_strz(&d->arena, str_from(db_sync_get(s, (int)i, 1)));
		r->events[i].at_ms = number_at(s, (int)i, 2, 0);
	}
	return 0;
}

/* --- the simulator's --- */

static int ask(struct client *simulator, const char *path, struct client_answer *answer, struct err *err)
{
	const struct client_request request = { .method = "GET", .path = str_from(path), .timeout_ms = CALL_MS };
	int rc = client_call(simulator, &request, answer);
	return rc < 0 ? err_set(err, answer->err.code, "the simulator, asked for %s: %s", path, answer->err.text) : 0;
}

/* "j17" → 17, -1 for those of the recovery. */
static int job_of_tag(struct str tag, size_t njobs)
{
	uint64_t n;
	if (!str_has_prefix(tag, STR("j")) || str_u64(str_sub(tag, 1, tag.n), 0, INT32_MAX, &n) || n >= njobs)
		return -1;
	return (int)n;
}

static int read_calls(struct client *simulator, struct drill *d, struct drill_run *r, struct err *err)
{
	struct client_answer answer = { 0 };
	int rc = ask(simulator, CALLS_PATH, &answer, err);
	if (rc >= 0) {
		json_t *calls = json_get(answer.body, "calls"), *v;
		size_t i;
		r->ncalls = json_array_size(calls);
		r->calls = arena_array(&d->arena, struct drill_call, r->ncalls + 1);
		json_array_foreach(calls, i, v)
		{
			struct drill_call *c = &r->calls[i];
			*c = (struct drill_call){ .at_ms = json_i64(v, "at_ms", 0),
				                  .end_ms = json_i64(v, "end_ms", INT64_MAX),
				                  .target = drill_twin_find(json_str(v, "model")),
				                  .job = job_of_tag(json_str(v, "tag"), r->njobs),
				                  .status = (int)json_i64(v, "status", 0),
				                  .canceled = json_bool(v, "canceled", false) };
			if (c->target >= (int)d->twins.conf->ntargets)
				c->target = -1;
			if (c->job < 0)
				continue;
			r->jobs[c->job].calls++;
			r->jobs[c->job].refused += c->status == 429;
		}
	}
	client_answer_done(&answer);
	return rc;
}

static int read_windows(struct client *simulator, struct drill *d, struct drill_run *r, struct err *err)
{
	struct client_answer answer = { 0 };
	const char *name;
	json_t *v;
	r->windows = arena_array(&d->arena, struct drill_window, d->twins.conf->ntargets + 1);
	int rc = ask(simulator, "/_control/windows", &answer, err);
	json_object_foreach(json_get(answer.body, "models"), name, v)
	{
		int i = drill_twin_find(str_from(name));
		if (i < 0 || (size_t)i >= d->twins.conf->ntargets)
			continue;
		r->windows[i] = (struct drill_window){ .requests = json_i64(v, "requests", 0),
			                               .tokens = json_i64(v, "tokens", 0),
			                               .input_tokens = json_i64(v, "input_tokens", 0),
			                               .output_tokens = json_i64(v, "output_tokens", 0),
			                               .in_flight = json_i64(v, "in_flight", 0) };
	}
	client_answer_done(&answer);
	return rc;
}

int drill_facts_read(struct drill *d, struct drill_run *r, struct err *err)
{
	const struct client_cfg cfg = { .url = d->fleet.simulator_url, .key = "none" };
	struct client *simulator = NULL;
	struct db_sync *s = NULL;
	int rc = db_sync_open(d->fleet.database, "millrace drill", 10, &s, err);
	if (rc >= 0)
		rc = read_jobs(s, r, err);
	if (rc >= 0)
		rc = read_events(s, d, r, err);
	if (rc >= 0)
		rc = client_open(&cfg, &simulator, err);
	if (rc >= 0)
		rc = read_calls(simulator, d, r, err);
	if (rc >= 0)
		rc = read_windows(simulator, d, r, err);
	client_close(simulator);
	db_sync_close(s);
	return rc;
}
