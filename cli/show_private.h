/* SPDX-License-Identifier: Apache-2.0 */
/* The pieces of a shown object. Texts are made in a; those from the service are given through term_safe by the caller, unless said otherwise. */
#ifndef MR_CLI_SHOW_PRIVATE_H
#define MR_CLI_SHOW_PRIVATE_H

#include "cli/show.h"

/* "label      value"; nothing when value is empty. */
void show_line(const struct term *t, const char *label, struct str value);
/* The first line: id and status of the object, made safe. */
void show_status_line(const struct term *t, struct arena *a, const json_t *object);
/* "2026-01-01T00:00:00.000Z  (3s ago)", made safe; empty when at is. */
struct str show_ago(struct arena *a, struct str at);
/* The time between two RFC 3339 times; empty when one is not there. */
struct str show_took(struct arena *a, struct str from, struct str to);

#endif
