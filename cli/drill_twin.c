/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operator's configuration, with every provider replaced by the simulator and every time shortened.
 *
 * All is well: the file as JSON → addresses, keys, headers and models of its targets are replaced (which needs no ${VARIABLE} of a key) →
 * written and read by conf_load, which names its mistakes under the paths that they have in the operator's file → the settings as they are
 * then, environment included, are written into it, times divided by the factor (and retry.budget_min, which a minute allows, multiplied) →
 * read again.
 *
 * A twin keeps provider (and so its wire format), price, limits, abilities and order. Its model is its own ("twin-3-gpt-4o"), so that the
 * simulator can take it down alone; in the last part of the name, since adapters look at what stands before a slash.
 *
 * What the operator wrote so that it cannot be read at all, or a mistake anywhere, is for conf_load to say: this file never repairs.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/drill.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/provider_record.h"

#define FILE_MAX   ((size_t)16 << 20)
#define FACTOR     15
#define OPEN_MS    2000 /* no breaker may be open for longer at first: the recovery must be seen */
#define MODEL_MAX  24   /* of a model's name before its last slash */
#define FIRST_MS   1000

/* --- names --- */

const char *drill_twin_pattern(struct arena *a, size_t i)
{
	return arena_printf(a, "*twin-%zu-*", i + 1).p;
}

int drill_twin_find(struct str model)
{
	ssize_t at = str_find(model, STR("twin-"));
	uint64_t n;
	struct str rest, number;
	if (at < 0)
		return -1;
	rest = str_sub(model, (size_t)at + 5, model.n);
	return str_split(&rest, '-', &number) && str_u64(number, 1, INT32_MAX, &n) == 0 ? (int)n - 1 : -1;
}

/* --- targets --- */

static void set_numbered(json_t *object, const char *name, const char *front, int number)
{
	struct buf b;
	buf_init(&b, 256);
	buf_add_z(&b, front);
	buf_add_i64(&b, number);
	json_set_str(object, name, buf_str(&b));
	buf_done(&b);
}

/* Where the simulator speaks this provider's format; any path may stand before, so Azure's newer form stays as it is. */
static struct str twin_url(struct arena *a, const struct provider_record *record, struct str old, const char *url)
{
	const char *path = "/v1";
	if (strcmp(record->adapter, "gemini") == 0)
		path = "/v1beta";
	else if (strcmp(record->adapter, "bedrock") == 0)
		path = "";
	else if (record->quirks & QUIRK_AZURE)
		path = str_find(old, STR("/openai/v1")) >= 0 ? "/openai/v1" : "";
	return arena_printf(a, "%s%s", url, path);
}

/* A text that may be an address, or may become one by the environment: anything else is for conf_load to complain of. */
static bool may_be_url(struct str s)
{
	return str_has_prefix(s, STR("http://")) || str_has_prefix(s, STR("https://")) || str_find(s, STR("${")) >= 0;
}

static void replace_url(json_t *target, const struct provider_record *record, const char *url, struct arena *a)
{
	json_t *given = json_get(target, "base_url");
	if (given ? !may_be_url(json_str_of(given)) : !record->base_url[0] && !json_get(target, "region"))
		return;
	json_set_str(target, "base_url", twin_url(a, record, json_str_of(given), url));
}

static void replace_keys(json_t *target, int number)
{
	static const char *const keys[] = { "api_key", "access_key", "secret_key", "session_token" };
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (json_is_string(json_get(target, keys[i])))
			set_numbered(target, keys[i], "sk-drill-", number);
	if (json_is_object(json_get(target, "headers")))
		json_object_del(target, "headers");
	if (str_find(json_str(target, "region"), STR("${")) >= 0)
		json_set_str(target, "region", STR("us-east-1"));
}

static void replace_model(json_t *target, struct arena *a, int number)
{
	struct str model = json_str(target, "model"), front = model;
	if (!model.n)
		return;
	while (front.n && front.p[front.n - 1] != '/')
		front.n--;
	struct str rest = str_sub(model, front.n, model.n);
	if (front.n > MODEL_MAX)
		front.n = 0;
	json_set_str(target, "model", arena_printf(a, STR_FMT "twin-%d-" STR_FMT, STR_ARG(front), number, STR_ARG(rest)));
}

/* number 0: models."*", whose model is the caller's. */
static void make_twin(json_t *target, const char *url, struct arena *a, int number)
{
	const struct provider_record *record = provider_record_find(json_str(target, "provider"));
	if (!record)
		return;
	replace_url(target, record, url, a);
	replace_keys(target, number);
	if (number)
		replace_model(target, a, number);
}

/* Other secrets of the deployment that a drill does not use: their variables need not be set where it runs. */
static void drop_secrets(json_t *file)
{
	static const char *const secrets[][2] = { { "database", "url" }, { "database", "listen_url" }, { "webhook", "secret" } };
	for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
		json_t *room = json_get(file, secrets[i][0]);
		if (str_find(json_str(room, secrets[i][1]), STR("${")) >= 0)
			json_object_del(room, secrets[i][1]);
	}
}

static void make_twins(json_t *file, const char *url, struct arena *a)
{
	const char *name;
	json_t *target;
	int number = 0;
	json_object_foreach(json_get(file, "targets"), name, target) make_twin(target, url, a, ++number);
	make_twin(json_get(json_get(file, "models"), "*"), url, a, 0);
}

/* --- settings --- */

static void set_at(json_t *file, struct str path, json_t *value)
{
	struct str part;
	char name[64];
	json_t *at = file;
	while (at && str_split(&path, '.', &part)) {
		assert(part.n < sizeof(name));
		memcpy(name, part.p, part.n);
		name[part.n] = 0;
		if (!path.n) {
			json_object_set_new(at, name, value);
			return;
		}
		json_t *down = json_object_get(at, name);
		if (!json_is_object(down)) {
			json_object_set_new(at, name, json_object());
			down = json_object_get(at, name);
		}
		at = down;
	}
	json_decref(value);
}

static json_t *duration(int64_t ms)
{
	struct buf b;
	buf_init(&b, 32);
	buf_add_i64(&b, ms);
	buf_add_z(&b, "ms");
	json_t *v = json_from_str(buf_str(&b));
	buf_done(&b);
	return v;
}

/* The environment wins over the file, so its settings go into the file and out of the environment, where they would undo what follows. */
static void take_environment(const char *path)
{
	char name[96] = "MILLRACE_";
	size_t n = strlen(name);
	for (; *path && n + 1 < sizeof(name); path++)
		name[n++] = *path == '.' ? '_' : (char)(*path >= 'a' && *path <= 'z' ? *path - 'a' + 'A' : *path);
	name[n] = 0;
	unsetenv(name);
}

/* Texts stay as the file has them: what matters of them is set below. */
static void settle(json_t *file, const struct conf *c)
{
#define SETTLE_INT(field, path)   set_at(file, STR(path), json_integer(c->field))
#define SETTLE_BYTES(field, path) set_at(file, STR(path), json_integer(c->field))
#define SETTLE_MS(field, path)    set_at(file, STR(path), duration(c->field))
#define SETTLE_BOOL(field, path)  set_at(file, STR(path), json_boolean(c->field))
#define SETTLE_STR(field, path)
#define CONF(field, path, type, def, min, max, when, help) \
	SETTLE_##type(field, path);                        \
	take_environment(path);
#include "common/conf.def"
#undef CONF
	set_at(file, STR("database.url"), json_string(""));
	set_at(file, STR("database.listen_url"), json_string(""));
	set_at(file, STR("database.pooler"), json_false());
	set_at(file, STR("server.listen"), json_string("127.0.0.1:0"));
	set_at(file, STR("worker.listen"), json_string(""));
	set_at(file, STR("log.level"), json_string("info"));
	set_at(file, STR("log.format"), json_string("json"));
	set_at(file, STR("limits.wait"), duration(1000));
}

/* --- times --- */

/* Divided by the factor, but not below least, where two processors need their time; never longer than it was. */
static int64_t shorter(int64_t ms, int64_t factor, int64_t least)
{
	return MAX(ms / factor, MIN(ms, least));
}

static void shorten_settings(json_t *file, const struct conf *c, int64_t f)
{
	const struct {
		const char *path;
		int64_t ms, least;
	} times[] = {
		{ "breaker.open", c->breaker_open_ms, 500 },
		{ "breaker.open_max", c->breaker_open_max_ms, 1000 },
		/* The load is no faster than it is, so a breaker takes its time to see its failures: jobs must not have spent all attempts by then. */
		{ "retry.base", c->retry_base_ms, 500 },
		{ "retry.max", c->retry_max_ms, 4000 },
		{ "retry.overload_base", c->retry_overload_ms, 50 },
		{ "retry.overload_max", c->retry_overload_max_ms, 1000 },
		{ "timeout.first_token", c->timeout_first_ms, FIRST_MS },
		{ "timeout.between_tokens", c->timeout_between_ms, 2000 },
		{ "timeout.total", c->timeout_total_ms, 4000 },
		{ "queue.lease", c->queue_lease_ms, 3000 },
		{ "queue.heartbeat", c->queue_heartbeat_ms, 500 },
		{ "queue.rescue", c->queue_rescue_ms, 300 },
		{ "worker.grace", c->worker_grace_ms, 1000 },
		{ "server.grace", c->server_grace_ms, 1000 },
	};
	for (size_t i = 0; i < ARRAY_LEN(times); i++)
		set_at(file, str_from(times[i].path), duration(shorter(times[i].ms, f, times[i].least)));
	/* What a minute allows comes within a shorter one. */
	set_at(file, STR("retry.budget_min"), json_integer(MIN(c->retry_budget_min * f, (int64_t)1000000)));
}

static void shorten_target(json_t *target, const struct conf_timeouts *t, int64_t f)
{
	json_t *timeout = json_get(target, "timeout");
	if (!timeout)
		return;
	if (t->first_ms)
		json_object_set_new(timeout, "first_token", duration(shorter(t->first_ms, f, FIRST_MS)));
	if (t->between_ms)
		json_object_set_new(timeout, "between_tokens", duration(shorter(t->between_ms, f, 2000)));
	if (t->total_ms)
		json_object_set_new(timeout, "total", duration(shorter(t->total_ms, f, 4000)));
}

static void shorten(json_t *file, const struct conf *c, int64_t f)
{
	const char *name;
	json_t *member;
	size_t i = 0;
	shorten_settings(file, c, f);
	json_object_foreach(json_get(file, "targets"), name, member) shorten_target(member, &c->targets[i++].timeouts, f);
	i = 0;
	json_object_foreach(json_get(file, "routes"), name, member)
	{
		if (c->routes[i].ladder_after_ms)
			json_object_set_new(member, "ladder_after", duration(shorter(c->routes[i].ladder_after_ms, f, 100)));
		i++;
	}
}

/* --- all of it --- */

static int read_back(const json_t *file, const char *scratch_file, struct arena *a, struct conf **ret, struct conf_mistake **ret_mistakes, size_t *ret_n,
                     struct err *err)
{
	struct buf b;
	buf_init(&b, 4 * FILE_MAX);
	int rc = json_write(&b, file);
	if (rc >= 0)
		rc = file_write(scratch_file, 0600, buf_str(&b), err);
	buf_done(&b);
	return rc < 0 ? rc : conf_load(scratch_file, a, ret, ret_mistakes, ret_n);
}

static int64_t longest_first(const struct conf *c)
{
	int64_t longest = c->timeout_first_ms;
	for (size_t i = 0; i < c->ntargets; i++)
		longest = MAX(longest, c->targets[i].timeouts.first_ms);
	return longest;
}

int drill_twins_make(struct drill_twins *t, const char *file, const char *url, const char *scratch_file, struct arena *a,
                     struct conf_mistake **ret_mistakes, size_t *ret_n, struct err *err)
{
	struct str text;
	struct conf *c;
	int rc = file_read(file, FILE_MAX, a, &text, err);
	if (rc < 0)
		return rc;
	t->file = json_parse(text, NULL);
	if (!json_is_object(t->file)) {
		rc = conf_load(file, a, &c, ret_mistakes, ret_n);
		return rc < 0 ? rc : err_set(err, ERR_CONFIG, "%s is not a configuration", file);
	}
	drop_secrets(t->file);
	make_twins(t->file, url, a);
	rc = read_back(t->file, scratch_file, a, &c, ret_mistakes, ret_n, err);
	if (rc < 0)
		return rc;
	settle(t->file, c);
	t->factor = MAX((c->breaker_open_ms + OPEN_MS - 1) / OPEN_MS, (int64_t)FACTOR);
	shorten(t->file, c, t->factor);
	conf_unref(c);
	rc = read_back(t->file, scratch_file, a, &t->conf, ret_mistakes, ret_n, err);
	if (rc >= 0)
		t->first_ms = longest_first(t->conf);
	return rc;
}

void drill_twins_done(struct drill_twins *t)
{
	json_drop(&t->file);
	if (t->conf)
		conf_unref(t->conf);
	t->conf = NULL;
}
