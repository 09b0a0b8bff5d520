/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing with linear steps, at most half full. A digest is spread evenly as it is, so its first half is the place; outsiders cannot choose
 * digests, so the chains stay short. It grows by doubling: 50,000 texts take 2 MiB. Nothing can fail but memory, which aborts.
 */
#include "api/batches/digest_set.h"

#include <stdlib.h>
#include <string.h>

#include "common/crypto.h"

#define CAP_MIN 1024

void digest_set_init(struct digest_set *s)
{
	*s = (struct digest_set){ 0 };
}

void digest_set_done(struct digest_set *s)
{
	free(s->slots);
	*s = (struct digest_set){ 0 };
}

/* Where d is, or the free slot where it belongs. */
static struct digest *slot_of(const struct digest_set *s, const struct digest *d)
{
	size_t i = d->a & (s->cap - 1);
	while ((s->slots[i].a | s->slots[i].b) && (s->slots[i].a != d->a || s->slots[i].b != d->b))
		i = (i + 1) & (s->cap - 1);
	return &s->slots[i];
}

static void grow(struct digest_set *s)
{
	struct digest_set old = *s;
	s->cap = old.cap ? old.cap * 2 : CAP_MIN;
	s->slots = calloc(s->cap, sizeof(*s->slots));
	assert(s->slots);
	for (size_t i = 0; i < old.cap; i++)
		if (old.slots[i].a | old.slots[i].b)
			*slot_of(s, &old.slots[i]) = old.slots[i];
	free(old.slots);
}

bool digest_set_add(struct digest_set *s, struct str text)
{
	uint8_t sum[SHA256_LEN];
	struct digest d;
	crypto_sha256(text, sum);
	memcpy(&d, sum, sizeof(d));
	d.b |= 1; /* never the free slot */
	if (s->n * 2 >= s->cap)
		grow(s);
	struct digest *at = slot_of(s, &d);
	if (at->a | at->b)
		return false;
	*at = d;
	s->n++;
	return true;
}
