/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The newest piece stays open as plain bytes, so that the next of its kind is appended to it; another kind closes it into the array. A failure to
 * fit latches in the bufs and is seen at the end.
 */
#include "worker/execution/deltas.h"

void deltas_init(struct deltas *d, size_t max_bytes)
{
	*d = (struct deltas){ 0 };
	buf_init(&d->json, max_bytes);
	buf_init(&d->text, max_bytes);
	buf_init(&d->id, max_bytes);
	buf_init(&d->name, max_bytes);
}

void deltas_done(struct deltas *d)
{
	buf_done(&d->json);
	buf_done(&d->text);
	buf_done(&d->id);
	buf_done(&d->name);
}

static void close_piece(struct deltas *d)
{
	buf_clear(&d->text);
	buf_clear(&d->id);
	buf_clear(&d->name);
	d->open = false;
}

void deltas_clear(struct deltas *d)
{
	buf_clear(&d->json);
	close_piece(d);
}

bool deltas_are_empty(const struct deltas *d)
{
	return d->json.n == 0 && !d->open;
}

static void write_tool(struct buf *b, const struct deltas *d)
{
	buf_printf(b, "{\"tool_calls\":[{\"index\":%d", d->index);
	if (d->id.n) {
		buf_add_z(b, ",\"id\":");
		buf_add_json_str(b, buf_str(&d->id));
	}
	if (d->id.n || d->name.n)
		buf_add_z(b, ",\"type\":\"function\"");
	buf_add_z(b, ",\"function\":{");
	if (d->name.n) {
		buf_add_z(b, "\"name\":");
		buf_add_json_str(b, buf_str(&d->name));
		buf_add_char(b, ',');
	}
	buf_add_z(b, "\"arguments\":");
	buf_add_json_str(b, buf_str(&d->text));
	buf_add_z(b, "}}]}");
}

/* The open piece goes into the array. */
static void shut(struct deltas *d)
{
	static const char *const members[] = { [DELTA_TEXT] = "content", [DELTA_REFUSAL] = "refusal", [DELTA_REASONING] = "reasoning_content" };
	if (!d->open)
		return;
	if (buf_failed(&d->text) || buf_failed(&d->id) || buf_failed(&d->name))
		d->json.failed = true;
	buf_add_char(&d->json, d->json.n ? ',' : '[');
	if (d->kind == DELTA_TOOL) {
		write_tool(&d->json, d);
	} else {
		buf_printf(&d->json, "{\"%s\":", members[d->kind]);
		buf_add_json_str(&d->json, buf_str(&d->text));
		buf_add_char(&d->json, '}');
	}
	close_piece(d);
}

void deltas_add(struct deltas *d, const struct provider_delta *piece)
{
	bool is_tool = piece->kind == DELTA_TOOL;
	bool goes_on = d->open && d->kind == piece->kind && (!is_tool || (d->index == piece->index && !piece->id.n && !piece->name.n));
	if (!is_tool && !piece->text.n)
		return;
	if (!goes_on)
		shut(d);
	d->open = true;
	d->kind = piece->kind;
	d->index = is_tool ? piece->index : 0;
	buf_add_str(&d->id, piece->id);
	buf_add_str(&d->name, piece->name);
	buf_add_str(&d->text, piece->text);
}

static void add_text(struct deltas *d, enum delta_kind kind, const struct buf *text)
{
	deltas_add(d, &(struct provider_delta){ .kind = kind, .text = buf_str(text) });
}

void deltas_add_answer(struct deltas *d, const struct assembly *s)
{
	add_text(d, DELTA_REASONING, &s->reasoning);
	add_text(d, DELTA_TEXT, &s->content);
	add_text(d, DELTA_REFUSAL, &s->refusal);
	for (int i = 0; s->tools && i < ASSEMBLY_TOOLS_MAX; i++) {
		const struct assembly_tool *t = &s->tools[i];
		if (t->used)
			deltas_add(d, &(struct provider_delta){ .kind = DELTA_TOOL, .index = i, .id = buf_str(&t->id), .name = buf_str(&t->name),
			                                        .text = buf_str(&t->arguments) });
	}
}

struct str deltas_text(struct deltas *d)
{
	shut(d);
	/* The end is written and taken away again, so that more may follow. */
	size_t n = d->json.n;
	if (n == 0)
		buf_add_char(&d->json, '[');
	buf_add_char(&d->json, ']');
	struct str all = buf_str(&d->json);
	if (buf_failed(&d->json))
		return (struct str){ NULL, 0 };
	buf_truncate(&d->json, n);
	return all;
}
