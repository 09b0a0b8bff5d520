/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenAI's Responses API as a face: what its files share, and what responses.c needs beside the face itself. Pure, as all of faces/.
 *
 *   response_request.c   the body's parameters → a chat request and the echo
 *   response_input.c     input items → messages
 *   response_items.c     messages → input items; a response that goes on from another
 *   response_answer.c    a job → the Response object
 *   response_stream.c    a job's running text → the events of a streamed Response
 */
#ifndef MR_API_FACES_RESPONSE_H
#define MR_API_FACES_RESPONSE_H

#include "api/faces/face.h"

/* Appends the messages that `input` (a text or items) makes; pointer is where it stands in the body. 0 or an error that names the item. */
int response_input_read(struct arena *a, const json_t *input, const char *pointer, json_t *messages, struct err *err);

/* The items that a stored response was asked with, in order and with ids: what came before it in its chain, too, but no instructions. Owned by the
 * caller. Their ids are the response's with the item's place. */
json_t *response_items(struct id id, const json_t *request, const json_t *echo);

/* Another response, which this one goes on from: its request and echo as they are stored, and its result. */
struct response_before {
	struct id id;
	const json_t *request, *echo, *result;
};
/* Puts what was said before in front of request's messages, behind this response's own instructions; those before are not carried over. */
void response_chain(json_t *request, const json_t *echo, const struct response_before *before);

/* What the first choice of a result says. Texts are borrowed from the result, or from joined. */
struct response_message {
	struct str reasoning, text, refusal;
	const json_t *calls;    /* array; NULL: none */
	const json_t *logprobs; /* array; NULL: none */
	struct buf joined;      /* of a text in parts */
};
/* False: it is no chat completion. Done is needed after both. */
bool response_message_init(struct response_message *m, const json_t *result);
void response_message_done(struct response_message *m);

/* A tool call in its parts: borrowed, or in room, which is overwritten. A call without an id or arguments gets an id of its own and {}. */
struct response_call {
	struct str call_id, name, arguments;
	struct buf id_room, room;
};
void response_call_init(struct response_call *c, struct id id, size_t index, const json_t *call);
void response_call_done(struct response_call *c);

/* msg_…: of an item, unquoted. n tells apart what is of one kind in the same response: the first is 0. */
void response_item_id(struct buf *b, const char *prefix, struct id id, size_t n);
/* Items and parts of messages, as JSON. */
void response_write_text_part(struct buf *b, struct str text, const json_t *logprobs);
void response_write_refusal_part(struct buf *b, struct str text);
void response_write_reasoning_item(struct buf *b, struct id id, size_t n, const char *status, struct str text);
void response_write_message_item(struct buf *b, struct id id, size_t n, const char *status, struct str text, bool has_text, struct str refusal,
                                 const json_t *logprobs);
void response_write_call_item(struct buf *b, struct id id, size_t n, const char *status, struct str call_id, struct str name, struct str arguments);

/* The Response object of a job in whatever state. 0, or -ERR_BAD_OUTPUT when its result is no chat completion. */
int response_write(struct buf *b, const struct face_answer *j);
/* "completed", "incomplete", "failed", "cancelled", "queued" or "in_progress". */
const char *response_status(const struct face_answer *j);

/* The face's functions: response_request.c, response_stream.c. */
int response_read(struct arena *a, const json_t *body, struct face_request *ret, struct err *err);
const char *response_pointer(struct arena *a, const char *native);
void response_stream_begin(struct face_stream *s);
void response_stream_delta(struct face_stream *s, const json_t *delta);
void response_stream_end(struct face_stream *s, const struct face_answer *j);
void response_stream_fail(struct face_stream *s, const struct err *err);

#endif
