/* SPDX-License-Identifier: Apache-2.0 */
/* Which texts were seen already, in 16 bytes each whatever their length: 128 bits of their SHA-256, so that two different texts are never taken for the
 * same. */
#ifndef MR_API_BATCHES_DIGEST_SET_H
#define MR_API_BATCHES_DIGEST_SET_H

#include "common/str.h"

struct digest_set {
	struct digest {
		uint64_t a, b;
	} *slots; /* owned; both zero: free */
	size_t n, cap;
};

void digest_set_init(struct digest_set *s);
void digest_set_done(struct digest_set *s); /* safe on a zeroed one */
/* False: it was there. */
bool digest_set_add(struct digest_set *s, struct str text);

#endif
