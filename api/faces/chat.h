/* SPDX-License-Identifier: Apache-2.0 */
/* chat_stream.c: a chat completion as chunks. */
#ifndef MR_API_FACES_CHAT_H
#define MR_API_FACES_CHAT_H

#include "api/faces/face.h"

void chat_stream_begin(struct face_stream *s);
void chat_stream_delta(struct face_stream *s, const json_t *delta);
void chat_stream_end(struct face_stream *s, const struct face_answer *j);
/* The event of an error as OpenAI's SDKs raise it; no [DONE] follows, so that nobody takes the text for whole. */
void chat_stream_fail(struct face_stream *s, const struct err *err);

#endif
