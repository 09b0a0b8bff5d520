/* SPDX-License-Identifier: Apache-2.0 */
/* "Did you mean …?": the word nearest to a mistyped one, by edit distance (a swap of neighbours counts one). */
#ifndef MR_COMMON_NEAREST_H
#define MR_COMMON_NEAREST_H

#include "common/str.h"

struct nearest {
	struct str word, best; /* borrowed */
	size_t best_distance;
};

void nearest_init(struct nearest *n, struct str word);
void nearest_try(struct nearest *n, struct str candidate);
/* p is NULL when nothing was near enough to suggest: more than a third of the word would have to change. */
struct str nearest_get(const struct nearest *n);

#endif
