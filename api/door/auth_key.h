/* SPDX-License-Identifier: Apache-2.0 */
/*
 * API keys: mr_ + 10 public characters + _ + 43 secret ones + 6 of checksum, all base62. The public part with its mr_
 * is the key's name in lists and the look-up's index; the checksum (CRC-32 of what stands before it) lets scanners and
 * the door tell a key from a typing mistake without asking the database. Only SHA-256 of the whole key is stored: the
 * secret part has 256 bits of chance, so that a slow hash adds nothing.
 */
#ifndef MR_API_DOOR_AUTH_KEY_H
#define MR_API_DOOR_AUTH_KEY_H

#include "common/crypto.h"
#include "common/str.h"

#define AUTH_KEY_PREFIX_LEN 13 /* mr_ and 10 characters */
#define AUTH_KEY_LEN        (AUTH_KEY_PREFIX_LEN + 1 + 43 + 6)

struct auth_key {
	char text[AUTH_KEY_LEN + 1]; /* NUL-terminated; shown once, never stored */
};

void auth_key_make(struct auth_key *ret);
/* Form and checksum; the database knows whether it exists. */
bool auth_key_is_wellformed(struct str key);
/* The public part of a well-formed key; borrowed from it. */
struct str auth_key_prefix(struct str key);
void auth_key_hash(struct str key, uint8_t ret_hash[SHA256_LEN]);

#endif
