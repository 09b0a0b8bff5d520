/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations from a text, for tests: a file of their own between confs_open and confs_close (set-up and tear-down). */
#ifndef MR_TESTS_LIB_CONFS_H
#define MR_TESTS_LIB_CONFS_H

#include "common/conf.h"

int confs_open(void **state);  /* for cmocka_unit_test_setup_teardown */
int confs_close(void **state);

struct arena *confs_arena(void); /* ends with confs_close */
const char *confs_path(void);

/* The file holds this text now; returns its path. */
const char *confs_write(const char *text);
/* The configuration of this text (NULL: of no file); the test fails, naming the mistakes, when there are any. The caller's reference. */
struct conf *confs_good(const char *text);
/* The text must have exactly these mistakes, in order: path and a part of what is said, by twos, ended by NULL. */
void confs_mistakes(const char *text, const char *const *want);
#define CONFS_MISTAKES(text, ...) confs_mistakes(text, (const char *const[]){ __VA_ARGS__, NULL })

#endif
