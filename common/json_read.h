/* SPDX-License-Identifier: Apache-2.0 */
/* The quick reader behind json_parse; for json.c only. */
#ifndef MR_COMMON_JSON_READ_H
#define MR_COMMON_JSON_READ_H

#include <jansson.h>

#include "common/str.h"

/* The value, the same as jansson's; or NULL: jansson must look at the text, as it may be wrong or merely unusual, or passes what it may hold at most:
 * values, and lists and objects among them. */
struct json_limits {
	size_t values, nests;
};
json_t *json_read(struct str s, bool unique_keys, struct json_limits most);

#endif
