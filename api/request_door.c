/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A submission at the door, and what its answer says of the limits there: RateLimit-Policy and RateLimit (IETF draft "RateLimit header fields for HTTP"),
 * OpenAI's x-ratelimit-* or on Anthropic's paths anthropic-ratelimit-*, and with a 429 when to come again. Without a limit that applies there is nothing to say and nothing to wait for.
 */
#include "api/request_private.h"
#include "api/router.h"
#include "common/clock.h"

#define MINUTE_S 60

static int64_t seconds_of(int64_t ms)
{
	return (ms + 999) / 1000;
}

/* When it may be used in full again, as a duration (OpenAI) or a time (Anthropic). */
static struct str reset_of(struct request *q, const struct door_share *s, bool anthropic)
{
	struct buf b;
	buf_init(&b, 64);
	if (anthropic)
		clock_rfc3339(&b, clock_wall_us() + seconds_of(s->reset_ms) * 1000000);
	else
		buf_printf(&b, "%llds", (long long)seconds_of(s->reset_ms));
	struct str text = arena_str(&q->http->arena, buf_str(&b));
	buf_done(&b);
	return text;
}

static void tell_nearest(struct request *q, const struct door_share *s)
{
	static const char *const names[][3] = {
		{ "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests" },
		{ "anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset" },
	};
	struct arena *a = &q->http->arena;
	bool anthropic = q->route->errors == ERRORS_ANTHROPIC;
	http_reply_header(q->http, names[anthropic][0], arena_printf(a, "%lld", (long long)s->limit));
	http_reply_header(q->http, names[anthropic][1], arena_printf(a, "%lld", (long long)s->left));
	http_reply_header(q->http, names[anthropic][2], reset_of(q, s, anthropic));
}

/* The nearest limit, in the words of the path's own clients; each of them in the draft's. */
static void tell_limits(struct request *q)
{
	const struct door_visit *v = &q->visit;
	if (v->nshares == 0)
		return;
	const struct door_share *near = &v->shares[0];
	struct buf policy, state;
	buf_init(&policy, 512);
	buf_init(&state, 512);
	for (int i = 0; i < v->nshares; i++) {
		const struct door_share *s = &v->shares[i];
		buf_printf(&policy, "%s\"%s\";q=%lld;w=%d", i ? ", " : "", s->name, (long long)s->limit, MINUTE_S);
		buf_printf(&state, "%s\"%s\";r=%lld;t=%lld", i ? ", " : "", s->name, (long long)s->left, (long long)seconds_of(s->reset_ms));
		if (s->left < near->left)
			near = s;
	}
	struct arena *a = &q->http->arena;
	http_reply_header(q->http, "RateLimit-Policy", arena_str(a, buf_str(&policy)));
	http_reply_header(q->http, "RateLimit", arena_str(a, buf_str(&state)));
	tell_nearest(q, near);
	buf_done(&policy);
	buf_done(&state);
}

int request_refused_at_door(struct request *q, int rc)
{
	const struct door_visit *v = &q->visit;
	struct arena *a = &q->http->arena;
	if (v->retry_ms > 0) {
		http_reply_header(q->http, "Retry-After", arena_printf(a, "%lld", (long long)seconds_of(v->retry_ms)));
		http_reply_header(q->http, "retry-after-ms", arena_printf(a, "%lld", (long long)v->retry_ms));
	}
	switch ((enum err_code) - rc) {
	case ERR_RATE_LIMITED:
		for (int i = 0; i < v->nshares; i++)
			if (v->shares[i].left == 0)
				return err_set(&q->err, ERR_RATE_LIMITED, "this %s may send %lld requests a minute", v->shares[i].name,
				               (long long)v->shares[i].limit);
		return err_set(&q->err, ERR_RATE_LIMITED, "%s", "the limit of requests a minute is reached");
	case ERR_QUEUE_FULL:
		return err_set(&q->err, ERR_QUEUE_FULL, "at most %lld jobs of this tenant may wait", (long long)v->max_depth);
	case ERR_TOO_LARGE:
		return err_set(&q->err, ERR_TOO_LARGE, "at most %lld jobs of this tenant may wait, so a batch has at most so many", (long long)v->max_depth);
	default:
		return err_set(&q->err, (enum err_code) - rc, "%s", "the limits on submissions could not be looked up");
	}
}

static void through(struct request *q, int rc)
{
	if (rc >= 0 || rc == -(int)ERR_RATE_LIMITED || rc == -(int)ERR_QUEUE_FULL)
		tell_limits(q);
	if (rc < 0)
		request_refused_at_door(q, rc);
	q->on_through(q, MIN(rc, 0));
}

static void on_visited(struct op *op, int rc)
{
	through(container_of(container_of(op, struct door_visit, op), struct request, visit), rc);
}

void request_enter(struct request *q, void (*on_through)(struct request *q, int rc))
{
	struct door_visit *v = &q->visit;
	v->tenant_id = q->who.tenant_id;
	v->tenant = str_from(q->who.tenant);
	v->key_prefix = q->key_prefix;
	v->op.on_done = on_visited;
	q->on_through = on_through;
	if (request_key(q, &v->key) < 0) {
		q->err = (struct err){ 0 }; /* the steps refuse it */
		v->key = (struct str){ 0 };
	}
	if (q->http->body_streamed)
		http_body_pause(q->http); /* before the visit: it may end at once, and the request with it */
	int rc = door_enter(q->api->door, v);
	if (rc != 0)
		through(q, rc);
}
