/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of Anthropic's face share: a request while it is read, and the parts of an answer. */
#ifndef MR_API_FACES_MESSAGE_H
#define MR_API_FACES_MESSAGE_H

#include "api/faces/face.h"

struct message_reader {
	struct arena *a;
	struct err *err;
	json_t *messages;  /* owned by the request; the native ones so far */
	/* Where it is, for pointers of errors: an item of a list of the body, a block of its content, a block in that one's content. */
	const char *list;
	size_t item;
	ssize_t block, inner; /* -1: not in one */
	int marks;         /* of the prompt cache, so far */
	json_t *origin;    /* owned by the request: see struct face_request */
	json_t *places;    /* borrowed: where the parts of the message that is being made came from; NULL: nobody asks */
};

/* Sets err at a member of where the reader is ("": itself) and returns -code. */
int message_refuse(struct message_reader *r, enum err_code code, const char *member, const char *what);

/* A mark of the prompt cache: cache_control of a block (or tool, or the body) goes to what became of it. The pointer is that of the block. *marks counts
 * them over the whole request. 0, or -ERR_ with err set. */
int message_mark(struct arena *a, struct err *err, const char *pointer, const json_t *block, json_t *to, int *marks);

/* message_blocks.c: `system` and `messages` into r->messages. 0 or what message_refuse returned. */
int message_read_system(struct message_reader *r, const json_t *system);
int message_read_messages(struct message_reader *r, const json_t *messages);

/* The body without what only an answer needs: for counting, where max_tokens is not wanted. As face.read. */
int message_read_uncounted(struct arena *a, const json_t *body, struct face_request *ret, struct err *err);

/* message_answer.c: how a native completion ends and what it cost, as members of a message or of a message_delta. */
struct message_end {
	const char *stop_reason;
	struct str stop_sequence; /* p NULL: none */
	struct str refusal;       /* why it refused; p NULL: it did not */
};
void message_end_of(const json_t *result, bool partial, struct message_end *ret);
/* "stop_reason":…,"stop_sequence":…,"stop_details":… */
void message_write_end(struct buf *b, const struct message_end *end);
/* {"input_tokens":…} of a result's usage; NULL: nothing is counted yet. */
void message_write_usage(struct buf *b, const json_t *usage);
/* {"id":"msg_…","type":"message","role":"assistant","model":…,"container":null,… up to and without `content`. */
void message_write_head(struct buf *b, struct id id, struct str model);
/* The id of a tool call that has none: the same in every form of the answer. */
struct str message_call_id(struct arena *a, struct id job, struct str given, size_t index);

/* message_stream.c */
void message_stream_begin(struct face_stream *s);
void message_stream_delta(struct face_stream *s, const json_t *delta);
void message_stream_end(struct face_stream *s, const struct face_answer *j);
void message_stream_fail(struct face_stream *s, const struct err *err);
/* message_answer.c */
int message_write(struct buf *b, const struct face_answer *j);
/* message_request.c */
int message_read(struct arena *a, const json_t *body, struct face_request *ret, struct err *err);
const char *message_pointer(struct arena *a, const char *said); /* as face.pointer, after the messages' own places */

#endif
