/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics: one family per row of metrics.def, in a fixed array; each has its series in the order of their first use and a small
 * index from the hash of the label values. Adding to a known series costs one hash, one comparison of the labels and one
 * addition; a family without labels has one series and needs no hash.
 *
 *     families[id] ─▶ series[0..n) of {labels, value, buckets}      index[hash & 1023] ─▶ place in series + 1
 *
 * Labels partly come from configuration and providers, so a family keeps at most SERIES_MAX series; what is new after that
 * counts in one series whose labels all say "other". Nothing is ever removed: a counter that vanished would look like a reset.
 *
 * Used on the loop's thread only. Works without metrics_init, which merely starts from zero.
 */
#include "common/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/hash.h"

#define SERIES_MAX 512
#define INDEX_LEN 1024
#define LABELS_MAX 8
#define SEPARATOR '\x1f'

/* Upper bounds in nanoseconds, and as Prometheus reads them. From a statement's half millisecond to a slow model's minutes. */
static const struct {
	uint64_t ns;
	const char *le;
} bounds[] = {
	{ 500000, "0.0005" },	{ 1000000, "0.001" },	 { 2500000, "0.0025" },	 { 5000000, "0.005" },	{ 10000000, "0.01" },
	{ 25000000, "0.025" },	{ 50000000, "0.05" },	 { 100000000, "0.1" },	 { 250000000, "0.25" }, { 500000000, "0.5" },
	{ 1000000000, "1" },	{ 2500000000, "2.5" },	 { 5000000000, "5" },	 { 10000000000, "10" }, { 30000000000, "30" },
	{ 60000000000, "60" },	{ 120000000000, "120" }, { 300000000000, "300" },
};
#define BOUNDS_N ARRAY_LEN(bounds)

enum kind { COUNTER, GAUGE, HISTOGRAM };

struct series {
	char *labels; /* owned */
	size_t labels_n;
	uint64_t hash;
	int64_t value;     /* of a histogram: the observations */
	uint64_t sum_ns;
	uint64_t *buckets; /* owned; BOUNDS_N of them, each for its own range; NULL: no histogram */
};

struct family {
	struct series *series; /* owned */
	size_t n, cap;
	uint16_t *index; /* owned; NULL without labels */
};

static const struct {
	enum kind kind;
	const char *name, *labels, *help;
} table[METRIC_COUNT] = {
#define METRIC(id, kind, name, labels, help) [METRIC_##id] = { kind, name, labels, help },
#include "common/metrics.def"
#undef METRIC
};

static struct family families[METRIC_COUNT];

void metrics_init(void)
{
	metrics_done();
}

void metrics_done(void)
{
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		struct family *f = &families[i];
		for (size_t k = 0; k < f->n; k++) {
			free(f->series[k].buckets);
			free(f->series[k].labels);
		}
		free(f->series);
		free(f->index);
		*f = (struct family){ 0 };
	}
}

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

/* --- finding a series --- */

static struct str labels_of(const struct series *s)
{
	return (struct str){ s->labels, s->labels_n };
}

static struct series *series_new(enum metric_id id, struct str labels, uint64_t hash)
{
	struct family *f = &families[id];
	if (f->n == f->cap) {
		f->cap = f->cap ? f->cap * 2 : 1;
		f->series = must(realloc(f->series, f->cap * sizeof(*f->series)));
	}
	struct series *s = &f->series[f->n++];
	char *copy = must(malloc(labels.n + 1));
	if (labels.n)
		memcpy(copy, labels.p, labels.n);
	*s = (struct series){ .labels = copy, .labels_n = labels.n, .hash = hash };
	if (table[id].kind == HISTOGRAM)
		s->buckets = must(calloc(BOUNDS_N, sizeof(*s->buckets)));
	return s;
}

/* The place in the index where the labels are, or where they belong. At most half of it is ever used. */
static size_t index_place(const struct family *f, struct str labels, uint64_t hash)
{
	size_t at = hash % INDEX_LEN;
	for (; f->index[at]; at = (at + 1) % INDEX_LEN) {
		const struct series *s = &f->series[f->index[at] - 1];
		if (s->hash == hash && str_eq(labels_of(s), labels))
			break;
	}
	return at;
}

static struct str other_labels(enum metric_id id, char out[LABELS_MAX * 6])
{
	size_t n = 0;
	struct str names = str_from(table[id].labels), name;
	for (size_t i = 0; i < LABELS_MAX && str_split(&names, ',', &name); i++) {
		if (i)
			out[n++] = SEPARATOR;
		memcpy(out + n, "other", 5);
		n += 5;
	}
	return (struct str){ out, n };
}

/* NULL when absent and not to be made. */
static struct series *find(enum metric_id id, const char *labels_z, bool make)
{
	assert((unsigned)id < METRIC_COUNT);
	struct family *f = &families[id];
	if (!*table[id].labels) {
		if (f->n)
			return &f->series[0];
		return make ? series_new(id, STR(""), 0) : NULL;
	}
	if (!f->index) {
		if (!make)
			return NULL;
		f->index = must(calloc(INDEX_LEN, sizeof(*f->index)));
	}
	struct str labels = str_from(labels_z);
	uint64_t hash = hash_bytes(labels);
	size_t at = index_place(f, labels, hash);
	if (f->index[at])
		return &f->series[f->index[at] - 1];
	if (!make)
		return NULL;
	char other[LABELS_MAX * 6];
	if (f->n >= SERIES_MAX) {
		labels = other_labels(id, other);
		hash = hash_bytes(labels);
		at = index_place(f, labels, hash);
		if (f->index[at])
			return &f->series[f->index[at] - 1];
	}
	struct series *s = series_new(id, labels, hash);
	f->index[at] = (uint16_t)f->n;
	return s;
}

/* --- counting --- */

void metric_add(enum metric_id id, const char *labels, int64_t n)
{
	struct series *s = find(id, labels, true);
	/* A counter that passes 63 bits starts again, as counters do; it must not stop the process. */
	(void)!__builtin_add_overflow(s->value, n, &s->value);
}

void metric_set(enum metric_id id, const char *labels, int64_t v)
{
	find(id, labels, true)->value = v;
}

void metric_observe_ns(enum metric_id id, const char *labels, uint64_t ns)
{
	assert(table[id].kind == HISTOGRAM);
	struct series *s = find(id, labels, true);
	size_t i = 0;
	while (i < BOUNDS_N && ns > bounds[i].ns)
		i++;
	if (i < BOUNDS_N)
		s->buckets[i]++;
	s->sum_ns += ns;
	s->value++;
}

int64_t metric_get(enum metric_id id, const char *labels)
{
	const struct series *s = find(id, labels, false);
	return s ? s->value : 0;
}

/* --- the Prometheus text --- */

static void add_label_value(struct buf *b, struct str v)
{
	for (; v.n; v = str_sub(v, 1, v.n)) {
		if (v.p[0] == '\\' || v.p[0] == '"')
			buf_add_char(b, '\\');
		if (v.p[0] == '\n')
			buf_add_z(b, "\\n");
		else
			buf_add_char(b, v.p[0]);
	}
}

/* {a="x",b="y",le="0.1"}; nothing when there is no label at all. Missing values are empty. */
static void add_labels(struct buf *b, enum metric_id id, struct str values, const char *le)
{
	struct str names = str_from(table[id].labels), name;
	char before = '{';
	while (names.n && str_split(&names, ',', &name)) {
		struct str value = STR("");
		str_split(&values, SEPARATOR, &value);
		buf_add_char(b, before);
		buf_add_str(b, name);
		buf_add_z(b, "=\"");
		add_label_value(b, value);
		buf_add_char(b, '"');
		before = ',';
	}
	if (le)
		buf_printf(b, "%cle=\"%s\"", before, le);
	if (le || before == ',')
		buf_add_char(b, '}');
}

static void write_line(struct buf *b, enum metric_id id, const char *suffix, struct str labels, const char *le, uint64_t v)
{
	buf_add_z(b, table[id].name);
	buf_add_z(b, suffix);
	add_labels(b, id, labels, le);
	buf_add_char(b, ' ');
	if (table[id].kind == HISTOGRAM)
		buf_add_u64(b, v);
	else
		buf_add_i64(b, (int64_t)v);
	buf_add_char(b, '\n');
}

static void write_histogram(struct buf *b, enum metric_id id, const struct series *s)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < BOUNDS_N; i++) {
		sum += s->buckets[i];
		write_line(b, id, "_bucket", labels_of(s), bounds[i].le, sum);
	}
	write_line(b, id, "_bucket", labels_of(s), "+Inf", (uint64_t)s->value);
	buf_add_z(b, table[id].name);
	buf_add_z(b, "_sum");
	add_labels(b, id, labels_of(s), NULL);
	buf_printf(b, " %llu.%09llu\n", (unsigned long long)(s->sum_ns / 1000000000), (unsigned long long)(s->sum_ns % 1000000000));
	write_line(b, id, "_count", labels_of(s), NULL, (uint64_t)s->value);
}

int metrics_write(struct buf *b)
{
	static const char *const kinds[] = { "counter", "gauge", "histogram" };
	for (int i = 0; i < METRIC_COUNT; i++) {
		enum metric_id id = (enum metric_id)i;
		if (!*table[i].labels)
			find(id, "", true); /* shown from the start, as zero */
		buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", table[i].name, table[i].help, table[i].name, kinds[table[i].kind]);
		for (size_t k = 0; k < families[i].n; k++) {
			const struct series *s = &families[i].series[k];
			if (table[i].kind == HISTOGRAM)
				write_histogram(b, id, s);
			else
				write_line(b, id, "", labels_of(s), NULL, (uint64_t)s->value);
		}
	}
	return buf_failed(b) ? -ERR_TOO_LARGE : 0;
}
