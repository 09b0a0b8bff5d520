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

static struct stats_count *count_one(struct stats_counts *c, struct str name)
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
	return count;
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

static void free_ring(struct stats *s)
{
	/* Older ones have no files any more. */
	uint64_t from = s->seq > STATS_FILE_CALLS ? s->seq - STATS_FILE_CALLS : 0;
	for (uint64_t seq = from + 1; seq <= s->seq; seq++)
		free(s->ring[seq % STATS_CALLS].files);
	free(s->ring);
}

void stats_done(struct stats *s)
{
	counts_done(&s->by_model);
	counts_done(&s->by_key);
	counts_done(&s->by_tag);
	free_ring(s);
}

/* Models with calls in flight stay: their tickets point here. */
static void reset_models(struct stats_counts *c)
{
	struct str name;
	void *value;
	for (size_t at = 0; hash_next(&c->by_name, &at, &name, &value);) {
		struct stats_count *count = value;
		count->n = 0;
		count->peak_in_flight = count->in_flight;
		if (count->in_flight == 0) {
			hash_remove(&c->by_name, name);
			free(count);
		}
	}
}

void stats_reset(struct stats *s)
{
	struct stats_counts models = s->by_model;
	uint64_t seq = s->seq, in_flight = s->in_flight;
	counts_done(&s->by_key);
	counts_done(&s->by_tag);
	free_ring(s);
	stats_init(s);
	hash_done(&s->by_model.by_name);
	reset_models(&models);
	s->by_model = models;
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

static void set_files(struct stats *s, struct stats_call *c, const struct stats_facts *facts)
{
	struct stats_call *old = &s->ring[(c->seq + STATS_CALLS - STATS_FILE_CALLS) % STATS_CALLS];
	free(take(&old->files));
	old->nfiles = 0;
	if (facts->nfiles == 0)
		return;
	c->nfiles = MIN(facts->nfiles, (size_t)STATS_FILES_MAX);
	c->files = calloc(c->nfiles, sizeof(*c->files));
	assert(c->files);
	memcpy(c->files, facts->files, c->nfiles * sizeof(*c->files));
}

struct stats_ticket stats_begin(struct stats *s, const struct stats_facts *facts)
{
	char shown[STATS_NAME_MAX];
	struct stats_call *c = &s->ring[++s->seq % STATS_CALLS];
	assert(!c->files);
	*c = (struct stats_call){
		.seq = s->seq,
		.at_ms = facts->at_ms,
		.input_tokens = facts->input_tokens,
		.output_tokens = facts->output_tokens,
		.body_bytes = (uint32_t)facts->body.n,
		.format = facts->format,
		.over = facts->over,
		.stream = facts->stream,
	};
	set_name(c->model, facts->model);
	set_name(c->tag, facts->tag);
	set_files(s, c, facts);
	crypto_sha256(facts->body, c->sha256);
	s->calls++;
	s->over_limit += facts->over != NULL;
	s->in_flight++;
	s->peak_in_flight = MAX(s->peak_in_flight, s->in_flight);
	struct stats_count *model = count_one(&s->by_model, str_from(c->model));
	model->in_flight++;
	model->peak_in_flight = MAX(model->peak_in_flight, model->in_flight);
	c->count = model;
	count_one(&s->by_key, shown_key(facts->key, shown));
	if (facts->tag.n > 0)
		count_one(&s->by_tag, str_from(c->tag));
	return (struct stats_ticket){ s->seq, model };
}

void stats_end(struct stats *s, struct stats_ticket t, int status, uint64_t bytes, bool canceled, int64_t wall_ms)
{
	struct stats_call *c = &s->ring[t.seq % STATS_CALLS];
	assert(s->in_flight > 0 && t.model->in_flight > 0 && status >= 0 && status < 600);
	s->in_flight--;
	t.model->in_flight--;
	s->by_status[status]++;
	if (c->seq != t.seq)
		return;
	c->status = (uint16_t)status;
	c->bytes = bytes;
	c->end_ms = wall_ms;
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
		if (count->n == 0)
			continue;
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
	buf_printf(out, "{\"calls\":%llu,\"in_flight\":%llu,\"peak_in_flight\":%llu,\"over_limit\":%llu",
	           (unsigned long long)s->calls, (unsigned long long)s->in_flight,
	           (unsigned long long)s->peak_in_flight, (unsigned long long)s->over_limit);
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

static void write_files(struct buf *out, const struct stats_call *c)
{
	buf_add_z(out, ",\"files\":[");
	for (size_t i = 0; i < c->nfiles; i++) {
		buf_add_z(out, i ? ",{\"type\":" : "{\"type\":");
		buf_add_json_str(out, str_from(c->files[i].type));
		buf_printf(out, ",\"bytes\":%llu,\"sha256\":\"", (unsigned long long)c->files[i].bytes);
		crypto_hex(out, (struct str){ (const char *)c->files[i].sha256, SHA256_LEN });
		buf_add_z(out, "\"}");
	}
	buf_add_char(out, ']');
}

static void write_call(struct buf *out, const struct stats_call *c)
{
	buf_printf(out, "{\"seq\":%llu,\"at_ms\":%lld,\"end_ms\":", (unsigned long long)c->seq, (long long)c->at_ms);
	if (c->ended)
		buf_add_i64(out, c->end_ms);
	else
		buf_add_z(out, "null");
	buf_printf(out, ",\"format\":\"%s\",\"model\":", c->format);
	buf_add_json_str(out, str_from(c->model));
	buf_add_z(out, ",\"tag\":");
	buf_add_json_str(out, str_from(c->tag));
	buf_printf(out, ",\"stream\":%s,\"status\":%u,\"bytes\":%llu,\"body_bytes\":%u,\"ended\":%s,\"canceled\":%s",
	           c->stream ? "true" : "false", c->status, (unsigned long long)c->bytes, c->body_bytes,
	           c->ended ? "true" : "false", c->canceled ? "true" : "false");
	buf_printf(out, ",\"input_tokens\":%lld,\"output_tokens\":%lld,\"over\":", (long long)c->input_tokens,
	           (long long)c->output_tokens);
	if (c->over)
		buf_add_json_str(out, str_from(c->over));
	else
		buf_add_z(out, "null");
	write_files(out, c);
	buf_add_z(out, ",\"sha256\":\"");
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
