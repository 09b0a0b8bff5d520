/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A face is another API's form of a job: how its requests become native ones, and how native results, running text and errors become its answers. Pure
 * translation: no database, no loop, no HTTP. The native form is the common one: a chat request and a chat completion (or embeddings) as OpenAI writes them.
 *
 * What an answer has to repeat of its request (Responses: instructions, tools, …) is the echo: a JSON object that is kept in the stored body's member
 * `echo`, beside `request`.
 */
#ifndef MR_API_FACES_FACE_H
#define MR_API_FACES_FACE_H

#include "api/jobs/submission.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/id.h"
#include "common/json.h"

/* As job.form. */
enum face_form { FORM_NATIVE, FORM_CHAT, FORM_RESPONSE, FORM_EMBEDDINGS, FORM_COMPLETION, FORM_MESSAGE, FORM_COUNT };

/* A request, read. JSON values that are owned are freed by face_request_done. */
struct face_request {
	json_t *request;             /* owned: the native request, without model, stream, metadata and the like */
	json_t *echo;                /* owned; NULL: nothing to repeat */
	struct str model;            /* becomes the route; borrowed from the body */
	struct str user;             /* p NULL: none; borrowed */
	json_t *metadata;            /* borrowed; NULL: none. Values that are no strings are written as JSON by attribution */
	json_t *millrace;            /* borrowed: the body's member `millrace` with the native job's fields (priority, webhook, cache, …); NULL: none */
	struct str previous;         /* of a response: previous_response_id; p NULL: none */
	bool stream, include_usage;  /* include_usage: a last chunk with the usage */
	bool background;             /* answered at once */
	bool unstored;               /* `store` is false: nobody may read it later */
	bool base64;                 /* embeddings as base64 */
	bool whole;                  /* of a stream: what is asked for is had whole only, and is told when it is */
	json_t *origin;              /* owned: for each native message [pointer, pointers of its content parts …] in the body; NULL: they are the same */
};

/* How a job stands or ended, for an answer. Texts and JSON are borrowed. */
struct face_answer {
	struct id id;
	enum face_form form;
	int64_t created_us, started_us, finished_us; /* 0: not yet */
	int status;                /* enum job_object_status */
	struct str model;          /* as it was asked for */
	const json_t *result;      /* the native result; NULL: none */
	const json_t *echo;        /* NULL: none */
	struct str error_code, error_message; /* of a job that did not succeed; p NULL: none */
	int error_status;          /* HTTP status of its last attempt; 0: none */
	struct str user;
	struct str metadata;       /* JSON object; p NULL: none */
	bool partial;              /* the answer is cut: the whole time was over */
	bool background;
};

/*
 * An answer that is streamed, as Server-Sent Events. The caller owns it zeroed, with out, id, model, created_us, echo and include_usage set; the face's
 * functions append whole events to out. seq of any event depends only on how much text and what items came before it, never on how the text was cut
 * into pieces: so a stream that is made again from the result goes on where another ended (Responses: starting_after).
 */
struct face_stream {
	struct buf *out;           /* borrowed */
	struct arena *a;           /* for what it keeps */
	struct id id;
	struct str model;
	int64_t created_us;
	const json_t *echo;        /* borrowed; NULL: none */
	struct str user, metadata;
	bool include_usage, background;
	bool whole;                /* no delta comes: all is told from the result */
	bool began;                /* the head was written */
	int64_t starting_after;    /* events up to this seq are left out; -1: none */
	void *state;               /* the face's own, in a */
};

struct face {
	enum face_form form;
	const char *name;          /* for logs: "chat" */
	const char *id_prefix;     /* of the object that it answers with; the rest is the job's id */
	enum submission_kind kind;
	/* The body of a request (an object), read. Params of errors are pointers into body, as the client wrote it. 0 or -ERR_ with err set. */
	int (*read)(struct arena *a, const json_t *body, struct face_request *ret, struct err *err);
	/* The whole answer of a job that succeeded. 0, or -ERR_BAD_OUTPUT when the result is not what it should be. */
	int (*write)(struct buf *b, const struct face_answer *j);
	/* NULL where the face does not stream. */
	void (*stream_begin)(struct face_stream *s);                         /* once, before all else */
	void (*stream_delta)(struct face_stream *s, const json_t *delta);    /* an OpenAI `delta` object of the first choice */
	void (*stream_end)(struct face_stream *s, const struct face_answer *j); /* it succeeded: finish, usage, and whatever ends such a stream */
	/* It did not, or its text broke after some was told: the face's own event of an error, and the end. */
	void (*stream_fail)(struct face_stream *s, const struct err *err);
	/* What in the client's body a place in the native request is: /messages/0/content → /prompt. NULL: they are the same. In a, or static. */
	const char *(*pointer)(struct arena *a, const char *native);
};

/* NULL: the native form. */
const struct face *face_of(enum face_form form);
extern const struct face face_chat, face_response, face_embeddings, face_completion, face_message;

void face_request_done(struct face_request *r); /* safe on a zeroed one */
/* What in the client's body a place in the native request is: the face's own pointer(), and what it kept in r. In a, static, or native itself. */
const char *face_pointer(const struct face *face, const struct face_request *r, struct arena *a, const char *native);

/* read.c: what all bodies have: model, stream, user, metadata and millrace, into *ret. 0 or -ERR_ with err set. */
int face_read_common(const json_t *body, struct face_request *ret, struct err *err);
/* OpenAI's stream_options, after face_read_common: include_usage into *ret. 0 or -ERR_ with err set. */
int face_read_stream_options(const json_t *body, struct face_request *ret, struct err *err);
/* A field that changes what is asked for and that this face cannot carry out: refused where it is there and not null. 0 or -ERR_UNSUPPORTED. */
int face_refuse(const json_t *body, const char *name, const char *why, struct err *err);

/* A request that was read (and whose files are in it), judged as a native job: with the fields of `millrace`, form, followed, unstored and the stored body set; metadata and
 * user are not (attribution.h). Texts are in a or borrowed from r. 0, or an error whose param is the client's own pointer. */
int face_submission(const struct face *face, const struct face_request *r, struct arena *a, const struct submission_rules *rules, struct submission *ret,
                    struct err *err);

/* The stored body: {"route", "request", "echo", …fields of millrace}. In a. -ERR_TOO_LARGE. */
int face_store(const struct face_request *r, struct arena *a, struct str *ret, struct err *err);

/* errors.c: a failed job's class or a refusal, as a client of that face wants to see it: HTTP status, type, code. The provider's own refusals of its key
 * are not the client's: 502. */
struct face_error {
	int status;
	const char *type, *code;   /* OpenAI: invalid_request_error, …; code may be NULL */
	bool retryable;
};
struct face_error face_error_of(struct str code);
/* {"error":{"message","type","param","code"}} */
void face_error_write_openai(struct buf *b, const struct face_error *e, const struct err *err);
/* {"type":"error","error":{"type","message"},"request_id"}; request_id p NULL: null */
void face_error_write_anthropic(struct buf *b, const struct face_error *e, const struct err *err, struct str request_id);
/* A JSON pointer as OpenAI writes params: /messages/0/content → messages[0].content. */
void face_param(struct buf *b, const char *pointer);

#endif
