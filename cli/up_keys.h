/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of `millrace up`: one to submit with, one to administer with, of the tenant `default`; kept in
 * DIR/keys.json. */
#ifndef MR_CLI_UP_KEYS_H
#define MR_CLI_UP_KEYS_H

#include "common/arena.h"
#include "common/err.h"

struct up_keys {
	const char *api, *admin; /* in the arena */
};

/* The kept ones when the database still knows them; else new ones. Blocking. */
int up_keys_prepare(const char *dir, const char *url, struct arena *a, struct up_keys *ret, struct err *err);

#endif
