/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace targets [list|show|pause|resume|drain|reset]`: the providers' targets as the fleet sees them, and an operator's word on them. All of it goes
 * through the service's /admin/v1/targets with an admin key. Orders take several names and go on after one that fails, so that the exit status is that
 * of the worst; they are safe to repeat.
 */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/list.h"
#include "cli/show_private.h"
#include "common/clock.h"

/* What stands in the way of calls now, the strongest first. */
static const char *state_of(const json_t *target)
{
	struct str state = json_str(target, "state"), breaker = json_str(json_get(target, "breaker"), "state");
	int64_t until;
	if (str_eq_z(state, "paused"))
		return "paused";
	if (str_eq_z(state, "draining"))
		return "draining";
	if (json_str(target, "disabled_at").n)
		return "disabled";
	if (clock_parse_rfc3339(json_str(target, "parked_until"), &until) == 0 && until > clock_wall_us())
		return "parked";
	return str_eq_z(breaker, "open") ? "open" : str_eq_z(breaker, "half_open") ? "half-open" : "ready";
}

/* "for 12s" of a time ahead; "" of none. */
static struct str ahead(struct arena *a, const char *what, struct str at)
{
	int64_t us;
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 128);
	if (clock_parse_rfc3339(at, &us))
		return STR("");
	buf_printf(&b, "%s ", what);
	term_seconds(&b, MAX((us - clock_wall_us()) / 1000, (int64_t)0));
	return arena_str(a, buf_str(&b));
}

static struct str note_of(struct arena *a, const json_t *target)
{
	const char *state = state_of(target);
	if (strcmp(state, "disabled") == 0)
		return json_str(target, "disabled_why");
	if (strcmp(state, "parked") == 0) {
		struct str until = ahead(a, "for", json_str(target, "parked_until")), why = json_str(target, "parked_why");
		return why.n ? arena_printf(a, STR_FMT ": " STR_FMT, STR_ARG(until), STR_ARG(why)) : until;
	}
	if (strcmp(state, "open") == 0)
		return ahead(a, "tried again in", json_str(json_get(target, "breaker"), "reopen_at"));
	return json_bool(target, "configured", true) ? STR("") : STR("not in the configuration");
}

static struct str mean_ms(struct arena *a, const json_t *calls, const char *name)
{
	_cleanup_(buf_done) struct buf b;
	buf_init(&b, 64);
	if (!json_is_integer(json_get(calls, name)))
		return STR("-");
	term_duration(&b, json_i64(calls, name, 0));
	return arena_str(a, buf_str(&b));
}

/* --- list --- */

static void add_row(struct term_table *t, struct arena *a, const json_t *target)
{
	const json_t *calls = json_get(target, "last_minute");
	const struct str cells[] = {
		json_str(target, "name"),       str_from(state_of(target)),
		show_number(a, calls, "calls"),      show_number(a, calls, "failures"),
		mean_ms(a, calls, "first_token_ms"), mean_ms(a, calls, "latency_ms"),
		note_of(a, target),
	};
	term_table_add(t, cells);
}

static int list(struct client *c, bool json)
{
	static const struct term_column columns[] = {
		{ .title = "TARGET" },
		{ .title = "STATE", .status = true },
		{ .title = "CALLS/MIN", .right = true },
		{ .title = "FAILED", .right = true },
		{ .title = "FIRST TOKEN", .right = true, .spare = 2 },
		{ .title = "LATENCY", .right = true, .spare = 1 },
		{ .title = "NOTE", .shrink = true },
		{ .title = NULL },
	};
	const struct list l = { .client = c,
		                .command = "targets list",
		                .noun = "targets",
		                .path = STR("/admin/v1/targets"),
		                .page = 1000,
		                .json = json,
		                .columns = columns,
		                .add_row = add_row };
	return list_print(&l);
}

static int list_main(int argc, char **argv)
{
	struct client_cfg cfg = { .is_admin = true };
	bool json = false;
	const struct cli_option options[] = {
		{ .name = "json", .kind = CLI_FLAG, .target = &json, .help = "One JSON object a line" },
		CLIENT_ADMIN_OPTIONS(&cfg),
		{ .name = NULL },
	};
	const struct cli_command cmd = { .name = "targets list",
		                         .usage = "[options]",
		                         .summary = "Lists targets: those of the configuration, and those that were met.",
		                         .details = "STATE is what stands in the way of calls: paused or draining (an operator's\n"
		                                    "word), disabled (the provider refuses the key or the model), parked (the\n"
		                                    "provider asked to wait), open or half-open (its breaker), or ready.",
		                         .options = options };
	struct cli_args args;
	struct client *c;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc) || (rc = client_open_for(&cfg, "targets list", &c)))
		return rc;
	rc = list(c, json);
	client_close(c);
	return rc;
}

/* --- show --- */

static struct str calls_text(struct arena *a, const json_t *calls)
{
	return arena_printf(a, STR_FMT " calls, " STR_FMT " failed, " STR_FMT " retries; first token " STR_FMT ", in all " STR_FMT,
	                    STR_ARG(show_number(a, calls, "calls")), STR_ARG(show_number(a, calls, "failures")), STR_ARG(show_number(a, calls, "retries")),
	                    STR_ARG(mean_ms(a, calls, "first_token_ms")), STR_ARG(mean_ms(a, calls, "latency_ms")));
}

static void show_limits(const struct term *t, struct arena *a, const json_t *target)
{
	const char *name;
	json_t *limit;
	json_object_foreach(json_get(target, "limits"), name, limit)
	{
		bool held = json_get(limit, "held") != NULL;
		struct str used = show_number(a, limit, held ? "held" : "taken");
		struct str most = json_is_integer(json_get(limit, "usable")) ? show_number(a, limit, "usable") : STR("no limit");
		show_line(t, "limit", arena_printf(a, STR_FMT ": " STR_FMT " of " STR_FMT "%s", STR_ARG(term_safe(a, str_from(name))), STR_ARG(used), STR_ARG(most),
		                              held ? " at once" : " in the last minute"));
	}
}

static void show_events(const struct term *t, struct arena *a, const json_t *events)
{
	static const struct term_column columns[] = {
		{ .title = "WHEN" }, { .title = "EVENT" }, { .title = "DETAIL", .shrink = true }, { .title = NULL },
	};
	struct term_table table;
	size_t i;
	json_t *e;
	term_table_init(&table, a, columns);
	json_array_foreach(events, i, e)
	{
		_cleanup_(buf_done) struct buf when, detail;
		buf_init(&when, 64);
		buf_init(&detail, 65536);
		term_ago(&when, json_str(e, "at"), clock_wall_us());
		json_write(&detail, json_get(e, "detail"));
		const struct str cells[] = { buf_str(&when), json_str(e, "kind"), buf_str(&detail) };
		term_table_add(&table, cells);
	}
	if (table.nrows) {
		fputc('\n', t->out);
		term_table_print(&table, t);
	}
}

static void show_target(const struct term *t, const json_t *target)
{
	struct arena a;
	arena_init(&a, 16 << 20);
	struct str state = str_from(state_of(target)), note = term_safe(&a, note_of(&a, target));
	fprintf(t->out, "%s" STR_FMT "%s  %s" STR_FMT "%s%s" STR_FMT "\n", term_style(t, TERM_BOLD), STR_ARG(term_safe(&a, json_str(target, "name"))),
	        term_reset(t), term_style(t, term_status_style(state)), STR_ARG(state), term_reset(t), note.n ? "  " : "", STR_ARG(note));
	show_line(t, "provider", term_safe(&a, json_str(target, "provider")));
	show_line(t, "model", term_safe(&a, json_str(target, "model")));
	show_line(t, "place", term_safe(&a, json_str(target, "place")));
	show_line(t, "key", term_safe(&a, json_str(target, "key_id")));
	const json_t *breaker = json_get(target, "breaker");
	show_line(t, "breaker", arena_printf(&a, STR_FMT ", " STR_FMT " failures in a row", STR_ARG(term_safe(&a, json_str(breaker, "state"))),
	                                STR_ARG(show_number(&a, breaker, "fails_in_row"))));
	show_limits(t, &a, target);
	show_line(t, "1 minute", calls_text(&a, json_get(target, "last_minute")));
	show_line(t, "10 minutes", calls_text(&a, json_get(target, "last_ten_minutes")));
	show_events(t, &a, json_get(target, "events"));
	arena_done(&a);
}

/* verb NULL: show. Both answer with the target. */
static int ask_one(struct client *c, const char *command, const char *verb, const char *name, struct str body, struct client_answer *a)
{
	_cleanup_(buf_done) struct buf path;
	buf_init(&path, 65536);
	buf_add_z(&path, "/admin/v1/targets/");
	client_escape(&path, name);
	if (verb)
		buf_printf(&path, "/%s", verb);
	const struct client_request r = { .method = verb ? "POST" : "GET", .path = buf_str(&path), .body = body, .repeat = true };
	return client_call(c, &r, a) ? client_complain(c, command, a) : CLI_EXIT_OK;
}

static int show_main(int argc, char **argv)
{
	struct client_cfg cfg = { .is_admin = true };
	bool json = false;
	const struct cli_option options[] = {
		{ .name = "json", .kind = CLI_FLAG, .target = &json, .help = "Print the JSON object" },
		CLIENT_ADMIN_OPTIONS(&cfg),
		{ .name = NULL },
	};
	const struct cli_command cmd = { .name = "targets show",
		                         .usage = "NAME [options]",
		                         .summary = "Shows a target: its breaker, limits, calls, and what happened to it.",
		                         .options = options,
		                         .min_args = 1,
		                         .max_args = 1 };
	struct cli_args args;
	struct client *c;
	struct client_answer a;
	struct term t;
	int rc;
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	if (!*args.v[0])
		return cli_usage_error("targets show", "a target's name is not empty");
	if ((rc = client_open_for(&cfg, "targets show", &c)))
		return rc;
	term_init(&t, stdout);
	rc = ask_one(c, "targets show", NULL, args.v[0], (struct str){ 0 }, &a);
	if (rc == 0 && json)
		show_json(stdout, a.body);
	else if (rc == 0)
		show_target(&t, a.body);
	client_answer_done(&a);
	client_close(c);
	return rc;
}

/* --- orders --- */

static int order_one(struct client *c, const char *command, const char *verb, const char *name, struct str body, bool json)
{
	struct client_answer a;
	int rc = ask_one(c, command, verb, name, body, &a);
	if (rc == 0 && json) {
		show_json(stdout, a.body);
	} else if (rc == 0) {
		struct term t;
		struct arena m;
		term_init(&t, stdout);
		arena_init(&m, 1 << 20);
		struct str state = str_from(state_of(a.body));
		fprintf(t.out, STR_FMT "  %s" STR_FMT "%s\n", STR_ARG(term_safe(&m, str_from(name))), term_style(&t, term_status_style(state)), STR_ARG(state),
		        term_reset(&t));
		arena_done(&m);
	}
	client_answer_done(&a);
	return rc;
}

static int order_main(int argc, char **argv, const char *command, const char *verb, const char *summary)
{
	struct client_cfg cfg = { .is_admin = true };
	const char *reason = NULL;
	bool json = false;
	const struct cli_option options[] = {
		{ .name = "reason", .arg = "TEXT", .kind = CLI_STR, .target = &reason, .help = "Kept with the event, for who looks later" },
		{ .name = "json", .kind = CLI_FLAG, .target = &json, .help = "Print the JSON objects" },
		CLIENT_ADMIN_OPTIONS(&cfg),
		{ .name = NULL },
	};
	const struct cli_command cmd = {
		.name = command, .usage = "NAME… [options]", .summary = summary, .options = options, .min_args = 1, .max_args = SIZE_MAX
	};
	struct cli_args args;
	struct client *c;
	_cleanup_(buf_done) struct buf body;
	int rc;
	buf_init(&body, 65536);
	if (!cli_parse(&cmd, argc, argv, &args, &rc))
		return rc;
	for (size_t i = 0; i < args.n; i++)
		if (!*args.v[i])
			return cli_usage_error(command, "a target's name is not empty");
	if (reason) {
		buf_add_z(&body, "{\"reason\":");
		buf_add_json_str(&body, str_from(reason));
		buf_add_char(&body, '}');
	}
	if (buf_failed(&body))
		return cli_usage_error(command, "the reason is too long");
	if ((rc = client_open_for(&cfg, command, &c)))
		return rc;
	for (size_t i = 0; i < args.n && !client_is_interrupted(c); i++) {
		int one = order_one(c, command, verb, args.v[i], buf_str(&body), json);
		rc = MAX(rc, one);
	}
	client_close(c);
	return rc;
}

static int pause_main(int argc, char **argv)
{
	return order_main(argc, argv, "targets pause", "pause", "Pauses targets: no calls any more; those that run end.");
}

static int resume_main(int argc, char **argv)
{
	return order_main(argc, argv, "targets resume", "resume", "Takes a pause or a drain back.");
}

static int drain_main(int argc, char **argv)
{
	return order_main(argc, argv, "targets drain", "drain", "Drains targets: only jobs that have called before go on.");
}

static int reset_main(int argc, char **argv)
{
	return order_main(argc, argv, "targets reset", "reset", "Closes breakers, ends parks and disablement.");
}

int targets_main(int argc, char **argv)
{
	static const struct cli_sub subs[] = {
		{ "list", "List targets with their states (also without a word)", list_main },
		{ "show", "Show a target and what happened to it", show_main },
		{ "pause", "No calls to targets any more", pause_main },
		{ "resume", "Take a pause or a drain back", resume_main },
		{ "drain", "Only let running series of attempts end", drain_main },
		{ "reset", "Close breakers, end parks and disablement", reset_main },
	};
	bool asks_help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
	if (argc < 2 || (argv[1][0] == '-' && !asks_help))
		return list_main(argc, argv);
	return cli_dispatch("targets", "Shows the providers' targets, and stops and starts calls to them.", subs, ARRAY_LEN(subs), argc, argv);
}
