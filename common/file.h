/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small whole files: read with a bound, written so that a reader (or a crash) sees the old content or the new, never
 * half of it. Blocking; for start-up, commands and ready files, not for the hot path.
 */
#ifndef MR_COMMON_FILE_H
#define MR_COMMON_FILE_H

#include "common/arena.h"
#include "common/err.h"

/* At most max bytes, NUL-terminated, in a. -ERR_NOT_FOUND, -ERR_TOO_LARGE or -ERR_IO. */
int file_read(const char *path, size_t max, struct arena *a, struct str *ret, struct err *err);

/* Replaces path by a file with this content and mode (a temporary file beside it, fsync, rename). */
int file_write(const char *path, mode_t mode, struct str content, struct err *err);

/* The ready file of a process: {"pid": …, "url": …}; url NULL leaves it out. It appears when the process can serve. */
int file_write_ready(const char *path, const char *url, struct err *err);

#endif
