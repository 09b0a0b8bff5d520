/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per event on standard error: JSON ({"time","level","event","msg", fields…}) or text for a terminal. Text that
 * came from outside is escaped (no log injection) and never holds payloads. Log where the decision is made, once; common/ never logs above debug.
 *
 *   log_event(LOG_WARN, "lease_lost", "aborting the call", LOG_STR("job", id), LOG_I64("token", t), LOG_END);
 */
#ifndef MR_COMMON_LOG_H
#define MR_COMMON_LOG_H

#include "common/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_NONE };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_field {
	const char *name; /* NULL ends the list */
	enum { LOG_FIELD_STR, LOG_FIELD_I64 } kind;
	struct str s;
	int64_t i;
};
#define LOG_STR(name_, str_) ((struct log_field){ .name = (name_), .kind = LOG_FIELD_STR, .s = (str_) })
#define LOG_Z(name_, z_) ((struct log_field){ .name = (name_), .kind = LOG_FIELD_STR, .s = str_from(z_) })
#define LOG_I64(name_, i_) ((struct log_field){ .name = (name_), .kind = LOG_FIELD_I64, .i = (int64_t)(i_) })
#define LOG_END ((struct log_field){ .name = NULL })

/* Process-wide: level, format, and the name of this process ("api", "worker") put on each line. */
void log_init(enum log_level level, enum log_format format, const char *process);
void log_set_level(enum log_level level);
bool log_is_on(enum log_level level);
int log_parse_level(struct str s, enum log_level *ret); /* debug|info|warn|error|none */

/* Fields are struct log_field by value, ended by LOG_END. */
void log_event(int level, const char *event, const char *msg, ...);

#endif
