/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of OpenAI's chat face share. */
#ifndef MR_API_FACES_CHAT_H
#define MR_API_FACES_CHAT_H

#include "api/faces/face.h"

/* --- chat_stream.c: a chat completion as chunks --- */

void chat_stream_begin(struct face_stream *s);
void chat_stream_delta(struct face_stream *s, const json_t *delta);
void chat_stream_end(struct face_stream *s, const struct face_answer *j);
/* The event of an error as OpenAI's SDKs raise it; no [DONE] follows, so that nobody takes the text for whole. */
void chat_stream_fail(struct face_stream *s, const struct err *err);

/* --- chat_functions.c: `functions`, the form that calls of tools had before --- */

/* Is anything in that form? */
bool chat_functions_used(const json_t *body);
/* Brings ret->request, whose members are the body's, into the form with tools; sets ret->echo and ret->origin. 0 or -ERR_ with err set. */
int chat_functions_read(struct arena *a, struct face_request *ret, struct err *err);
/* Was the request in that form? Then its answer is, too. */
bool chat_functions_wanted(const json_t *echo);
/* A choice of an answer, changed in place: its first call becomes `function_call`. */
void chat_functions_choice(json_t *choice);
/* A delta in that form, owned by the caller; NULL: nothing is left of it. */
json_t *chat_functions_delta(const json_t *delta);
/* A place in the request with tools, in the old form's words. In a, static, or said itself. */
const char *chat_functions_pointer(const struct face_request *r, struct arena *a, const char *said);

#endif
