/* SPDX-License-Identifier: Apache-2.0 */
/* Replays the corpus of a fuzz target (tests/fuzz) without a fuzzer: each file whole, and its first beginnings up to a length of
 * `cuts`, because cuts are where parsers break. A broken promise aborts. Run from the repository's root. */
#ifndef MR_TESTS_LIB_CORPUS_H
#define MR_TESTS_LIB_CORPUS_H

#include <stddef.h>
#include <stdint.h>

/* Fails the test when dir holds fewer than `wanted` files: then it is not the corpus. */
void corpus_replay(const char *dir, size_t wanted, size_t cuts, int (*target)(const uint8_t *data, size_t n));

#endif
