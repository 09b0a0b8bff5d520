/* SPDX-License-Identifier: Apache-2.0 */
/* Cases of a face (api/faces/face.h), for its tests. All texts are JSON; what is returned lives in an arena between faces_open and faces_close. */
#ifndef MR_TESTS_LIB_FACES_H
#define MR_TESTS_LIB_FACES_H

#include "api/faces/face.h"

int faces_open(void **state); /* for cmocka_unit_test_setup_teardown */
int faces_close(void **state);
struct arena *faces_arena(void);

json_t *faces_parsed(const char *text); /* the caller's reference; a text that is no JSON fails the test */
/* The body is read, and its request is the one that is wanted. */
void faces_becomes(const struct face *face, const char *body, const char *wanted);
/* The body is refused with this code, at this param. */
void faces_refused(const struct face *face, const char *body, enum err_code code, const char *param);
/* What face makes of a result, with `partial` or not; echo may be NULL. Empty: it cannot be told in this form. */
struct str faces_written(const struct face *face, const char *result, const char *echo, bool partial);

#endif
