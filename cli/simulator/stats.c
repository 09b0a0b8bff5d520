/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and the ring of call records. A record is made when a call begins (so that calls that never get an answer
 * are seen too) and completed when it ends, unless the ring went over it meanwhile.
 */
#include "cli/simulator/stats.h"

#include <stdlib.h>
#include <string.h>

#define MODELS_MAX 1000
#define KEYS_MAX   1000
#define TAGS_MAX   100000

struct stats_count {
	uint64_t n;
};

static void counts_init(struct stats_counts *c, size_t max)
{
	hash_init(&c->by_name);
	c->max = max;
}

static void counts_done(struct stats_counts *c)
{
	struct str name;
	void *count;
	for (size_t at = 0; hash_next(&c->by_name, &at, &name, &count);)
		free(count);
	hash_done(&c->by_name);
}

static void count_one(struct stats_counts *c, struct str name)
{
	struct stats_count *count = hash_get(&c->by_name, name);
	if (!count && c->by_name.n >= c->max) {
		name = STR("other");
		count = hash_get(&c->by_name, name);
	}
	if (!count) {
		count = calloc(1, sizeof(*count));
		assert(count);
		hash_set(&c->by_name, name, count);
	}
	count->n++;
}

void stats_init(struct stats *s)
{
	*s = (struct stats){ .calls = 0 };
	s->ring = calloc(STATS_CALLS, sizeof(*s->ring));
	assert(s->ring);
	counts_init(&s->by_model, MODELS_MAX);
	counts_init(&s->by_key, KEYS_MAX);
	counts_init(&s->by_tag, TAGS_MAX);
}

void stats_done(struct stats *s)
{
	counts_done(&s->by_model);
	counts_done(&s->by_key);
	counts_done(&s->by_tag);
	free(s->ring);
}

void stats_reset(struct stats *s)
{
	uint64_t seq = s->seq, in_flight = s->in_flight;
	stats_done(s);
	stats_init(s);
	s->seq = seq;
	s->in_flight = s->peak_in_flight = in_flight;
}

static void set_name(char out[STATS_NAME_MAX], struct str name)
{
	name = str_utf8_prefix(name, STATS_NAME_MAX - 1);
	if (name.n > 0)
		memcpy(out, name.p, name.n);
	out[name.n] = '\0';
}

/* Long keys are shown by their ends only: a real one may be sent here by mistake. */
static struct str shown_key(struct str key, char out[STATS_NAME_MAX])
{
	if (key.n == 0)
		return STR("none");
	if (key.n <= 16)
		return key;
	memcpy(out, key.p, 8);
	memcpy(out + 8, "...", 3);
	memcpy(out + 11, key.p + key.n - 4, 4);
	return (struct str){ out, 15 };
}

uint64_t stats_begin(struct stats *s, struct str model, struct str key, struct str tag, struct str body,
                     int64_t wall_ms)
{
	char shown[STATS_NAME_MAX];
	struct stats_call *c = &s->ring[++s->seq % STATS_CALLS];
	*c = (struct stats_call){ .seq = s->seq, .start_ms = wall_ms, .body_bytes = (uint32_t)body.n };
	set_name(c->model, model);
	set_name(c->tag, tag);
	crypto_sha256(body, c->sha256);
	s->calls++;
	s->in_flight++;
	s->peak_in_flight = MAX(s->peak_in_flight, s->in_flight);
	count_one(&s->by_model, str_from(c->model));
	count_one(&s->by_key, shown_key(key, shown));
	if (tag.n > 0)
		count_one(&s->by_tag, str_from(c->tag));
	return s->seq;
}

void stats_end(struct stats *s, uint64_t seq, int status, uint64_t bytes, bool canceled)
{
	struct stats_call *c = &s->ring[seq % STATS_CALLS];
	assert(s->in_flight > 0 && status >= 0 && status < 600);
	s->in_flight--;
	s->by_status[status]++;
	if (c->seq != seq)
		return;
	c->status = (uint16_t)status;
	c->bytes = bytes;
	c->ended = true;
	c->canceled = canceled;
}

static void write_counts(struct buf *out, const char *name, const struct stats_counts *c)
{
	struct str key;
	void *value;
	const char *comma = "";
	buf_printf(out, ",\"%s\":{", name);
	for (size_t at = 0; hash_next(&c->by_name, &at, &key, &value);) {
		const struct stats_count *count = value;
		buf_add_z(out, comma);
		buf_add_json_str(out, key);
		buf_add_char(out, ':');
		buf_add_u64(out, count->n);
		comma = ",";
	}
	buf_add_char(out, '}');
}

int stats_write(struct stats *s, struct buf *out)
{
	const char *comma = "";
	buf_printf(out, "{\"calls\":%llu,\"in_flight\":%llu,\"peak_in_flight\":%llu", (unsigned long long)s->calls,
	           (unsigned long long)s->in_flight, (unsigned long long)s->peak_in_flight);
	write_counts(out, "by_model", &s->by_model);
	write_counts(out, "by_key", &s->by_key);
	buf_add_z(out, ",\"by_status\":{");
	for (size_t i = 0; i < ARRAY_LEN(s->by_status); i++) {
		if (!s->by_status[i])
			continue;
		buf_printf(out, "%s\"%zu\":%llu", comma, i, (unsigned long long)s->by_status[i]);
		comma = ",";
	}
	buf_add_char(out, '}');
	write_counts(out, "by_text_tag", &s->by_tag);
	return buf_add_char(out, '}');
}

static void write_call(struct buf *out, const struct stats_call *c)
{
	buf_printf(out, "{\"seq\":%llu,\"start_ms\":%lld,\"model\":", (unsigned long long)c->seq,
	           (long long)c->start_ms);
	buf_add_json_str(out, str_from(c->model));
	buf_add_z(out, ",\"tag\":");
	buf_add_json_str(out, str_from(c->tag));
	buf_printf(out, ",\"status\":%u,\"bytes\":%llu,\"body_bytes\":%u,\"ended\":%s,\"canceled\":%s,\"sha256\":\"",
	           c->status, (unsigned long long)c->bytes, c->body_bytes, c->ended ? "true" : "false",
	           c->canceled ? "true" : "false");
	crypto_hex(out, (struct str){ (const char *)c->sha256, SHA256_LEN });
	buf_add_z(out, "\"}");
}

int stats_write_calls(struct stats *s, struct buf *out, size_t limit, struct str tag)
{
	uint64_t from = s->seq + 1, oldest = s->seq > STATS_CALLS ? s->seq - STATS_CALLS : 0;
	const char *comma = "";
	/* Back from the newest until enough are found, then forward. */
	for (size_t n = 0; from > oldest + 1 && n < limit;) {
		const struct stats_call *c = &s->ring[--from % STATS_CALLS];
		n += c->seq == from && (!tag.p || str_eq_z(tag, c->tag));
	}
	buf_add_z(out, "{\"calls\":[");
	for (; from <= s->seq; from++) {
		const struct stats_call *c = &s->ring[from % STATS_CALLS];
		if (c->seq != from || (tag.p && !str_eq_z(tag, c->tag)))
			continue;
		buf_add_z(out, comma);
		write_call(out, c);
		comma = ",";
	}
	return buf_add_z(out, "]}");
}
