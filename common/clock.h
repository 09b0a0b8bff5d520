/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time. Two clocks, never mixed: wall time (microseconds since 1970, UTC) for what people and the database read, and a steady
 * clock (nanoseconds, CLOCK_MONOTONIC) for durations and timers. Only the database's clock decides about leases and schedules.
 */
#ifndef MR_COMMON_CLOCK_H
#define MR_COMMON_CLOCK_H

#include "common/str.h"

struct buf;

int64_t clock_wall_us(void);
uint64_t clock_mono_ns(void);
uint64_t clock_mono_ms(void);

/* RFC 3339, UTC, milliseconds: 2026-01-01T00:00:00.000Z (24 bytes). */
#define CLOCK_RFC3339_LEN 24
int clock_rfc3339(struct buf *b, int64_t wall_us);

/* RFC 3339 with any offset and 0–9 fraction digits, years 1970–9999. Returns 0 or -ERR_INVALID. */
int clock_parse_rfc3339(struct str s, int64_t *ret_wall_us);

/* An HTTP date (RFC 9110 5.6.7, IMF-fixdate). */
int clock_http_date(struct buf *b, int64_t wall_us);
int clock_parse_http_date(struct str s, int64_t *ret_wall_us);

/* A duration of the configuration: 250ms, 10s, 5m, 2h, 30d; a bare number is seconds. Returns 0 or -ERR_INVALID. */
int clock_parse_duration_ms(struct str s, int64_t min_ms, int64_t max_ms, int64_t *ret_ms);

#endif
