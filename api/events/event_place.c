/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TOKEN.NUMBER.SEQ.CONTENT.REFUSAL.REASONING.TOOLS.SUM.STATUS.ATTEMPTS.REASON.CHECK, decimal but for the two sums. SUM is a polynomial over the bytes,
 * with a factor for each kind of text: it goes on from the lengths alone, whatever order the kinds came in, so a process that never saw the
 * text can tell whether the result begins with it. CHECK makes ids of other jobs, and damaged ones, known for what they are; it is no protection, and none is
 * needed: an invented place only spoils the inventor's own stream.
 */
#include "api/events/event_place.h"

#include "common/err.h"

#define BASE 0x9e3779b97f4a7c15u

static const uint64_t factors[] = {
	[EVENT_CONTENT] = 0xbf58476d1ce4e5b9u,
	[EVENT_REFUSAL] = 0x94d049bb133111ebu,
	[EVENT_REASONING] = 0xd6e8feb86659fd93u,
};

void event_place_init(struct event_place *p, int64_t token)
{
	*p = (struct event_place){ .token = token, .number = INT16_MAX, .seq = EVENT_SEQ_ALL, .status = -1, .reason = -1 };
}

void event_place_restart(struct event_place *p, int64_t token, int number, int seq)
{
	p->token = token;
	p->number = number;
	p->seq = seq;
	for (int i = 0; i < EVENT_TEXTS; i++)
		p->bytes[i] = 0;
	p->sum = 0;
}

bool event_place_has_text(const struct event_place *p)
{
	for (int i = 0; i < EVENT_TEXTS; i++)
		if (p->bytes[i] > 0)
			return true;
	return false;
}

static uint64_t base_to(uint64_t n)
{
	uint64_t power = 1;
	for (uint64_t square = BASE; n; n >>= 1, square *= square)
		if (n & 1)
			power *= square;
	return power;
}

void event_place_add(struct event_place *p, enum event_text kind, struct str text)
{
	if (kind != EVENT_TOOLS) {
		uint64_t power = base_to((uint64_t)p->bytes[kind]) * factors[kind];
		for (size_t i = 0; i < text.n; i++, power *= BASE)
			p->sum += power * ((uint64_t)(unsigned char)text.p[i] + 1);
	}
	p->bytes[kind] += (int64_t)text.n;
}

enum event_step event_place_step(const struct event_place *p, int64_t token, int number, int seq)
{
	bool same = token == p->token && number == p->number;
	if (token < p->token || (token == p->token && number < p->number) || (same && seq <= p->seq))
		return EVENT_OLD;
	if (same)
		return seq == p->seq + 1 ? EVENT_NEXT : EVENT_GAP;
	return seq == 0 ? EVENT_NEW : EVENT_GAP;
}

static uint32_t check_of(struct id job, struct str text)
{
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < sizeof(job.b); i++)
		h = (h ^ job.b[i]) * 16777619u;
	for (size_t i = 0; i < text.n; i++)
		h = (h ^ (unsigned char)text.p[i]) * 16777619u;
	return h;
}

void event_place_write(const struct event_place *p, struct id job, struct buf *b)
{
	size_t from = b->n;
	buf_printf(b, "%lld.%d.%d", (long long)p->token, p->number, p->seq);
	for (int i = 0; i < EVENT_TEXTS; i++)
		buf_printf(b, ".%lld", (long long)p->bytes[i]);
	buf_printf(b, ".%016llx.%d.%d.%d", (unsigned long long)p->sum, p->status, p->attempts, p->reason);
	if (!buf_failed(b))
		buf_printf(b, ".%08x", check_of(job, str_sub(buf_str(b), from, b->n)));
}

/* -1 is the only negative number. */
static int take_number(struct str *left, int64_t max, int64_t *ret)
{
	struct str part;
	uint64_t n;
	if (!str_split(left, '.', &part))
		return -(int)ERR_INVALID;
	if (str_eq(part, STR("-1"))) {
		*ret = -1;
		return 0;
	}
	if (str_u64(part, 0, (uint64_t)max, &n) < 0)
		return -(int)ERR_INVALID;
	*ret = (int64_t)n;
	return 0;
}

static int take_hex(struct str *left, size_t digits, uint64_t *ret)
{
	struct str part;
	if (!str_split(left, '.', &part) || part.n != digits)
		return -(int)ERR_INVALID;
	*ret = 0;
	for (size_t i = 0; i < part.n; i++) {
		char c = part.p[i];
		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
			return -(int)ERR_INVALID;
		*ret = *ret << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	return 0;
}

int event_place_read(struct str text, struct id job, struct event_place *ret)
{
	int64_t n[3], bytes[EVENT_TEXTS], told[3];
	uint64_t sum, check;
	struct str left = text;
	int rc = text.n > EVENT_ID_MAX ? -(int)ERR_INVALID : 0;
	for (int i = 0; i < 3 && rc == 0; i++)
		rc = take_number(&left, i == 0 ? INT64_MAX / 2 : INT32_MAX, &n[i]);
	for (int i = 0; i < EVENT_TEXTS && rc == 0; i++)
		rc = take_number(&left, INT64_MAX / 2, &bytes[i]);
	if (rc == 0)
		rc = take_hex(&left, 16, &sum);
	for (int i = 0; i < 3 && rc == 0; i++)
		rc = take_number(&left, INT16_MAX, &told[i]);
	size_t body = text.n - left.n;
	if (rc < 0 || take_hex(&left, 8, &check) < 0 || left.p || body == 0 || check != check_of(job, str_sub(text, 0, body - 1)))
		return -(int)ERR_INVALID;
	*ret = (struct event_place){ .token = n[0], .number = (int)n[1], .seq = (int)n[2], .sum = sum, .status = (int)told[0],
		                     .attempts = (int)told[1], .reason = (int)told[2] };
	for (int i = 0; i < EVENT_TEXTS; i++)
		ret->bytes[i] = MAX(bytes[i], 0);
	return 0;
}
