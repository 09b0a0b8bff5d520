/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a chat or embeddings request (OpenAI's form) is made of, found in one walk over it: what a target must be able to do, how much
 * it holds, and what routing rules ask about. Pure. Used at the door (is there a target that can take it?) and by the worker's routing.
 */
#ifndef MR_COMMON_REQUEST_FACTS_H
#define MR_COMMON_REQUEST_FACTS_H

#include "common/arena.h"
#include "common/json.h"

/* What a request needs, and a target can do: bits. */
enum request_need {
	NEED_CHAT        = 1 << 0,
	NEED_EMBEDDINGS  = 1 << 1,
	NEED_IMAGES      = 1 << 2,  /* image_url with a data: URL */
	NEED_IMAGE_URLS  = 1 << 3,  /* image_url with http(s): the provider fetches it */
	NEED_PDF         = 1 << 4,  /* a file part with application/pdf data */
	NEED_TEXT_FILES  = 1 << 5,  /* a file part with text/plain and relatives */
	NEED_OTHER_FILES = 1 << 6,  /* office formats and whatever else */
	NEED_FILE_IDS    = 1 << 7,  /* a file by a provider's own id */
	NEED_AUDIO       = 1 << 8,  /* input_audio, or modalities with audio */
	NEED_TOOLS       = 1 << 9,
	NEED_JSON_OBJECT = 1 << 10, /* response_format json_object */
	NEED_JSON_SCHEMA = 1 << 11, /* response_format json_schema */
	NEED_CHOICES     = 1 << 12, /* n > 1 */
	NEED_LOGPROBS    = 1 << 13,
	NEED_LOGIT_BIAS  = 1 << 14,
	NEED_DIMENSIONS  = 1 << 15, /* embeddings with dimensions */
	NEED_TOKENS      = 1 << 16, /* embeddings of token arrays */
};

#define REQUEST_NEEDS 17 /* bits */

/* "images", "image URLs", "PDF files", …: for messages; one bit. */
const char *request_need_name(uint32_t bit);
/* One word for the configuration ("images", "image_urls", "pdf", "tools", …) to its bit; 0: none. */
uint32_t request_need_parse(struct str word);
/* That word; NULL: no such bit. */
const char *request_need_word(uint32_t bit);

struct request_facts {
	uint32_t needs;
	const char *pointers[REQUEST_NEEDS]; /* by bit number: the JSON pointer (below the request) where the need was met first; NULL: not needed. In the arena */
	int64_t text_bytes;        /* of all messages, text files, tools and the schema, or of the inputs (four for each token of an array) */
	int messages, inputs;
	int images;                /* each counts REQUEST_IMAGE_TOKENS in the estimate */
	int64_t file_bytes;        /* decoded size of PDF and other files; text files count as text */
	int64_t audio_bytes;       /* decoded */
	int tools;
	int64_t max_output;        /* max_completion_tokens or max_tokens; 0: none given */
	bool reasoning;            /* reasoning_effort other than none */
	int complexity;            /* 0 to 100: from cheap visible features */
	struct str complexity_why; /* "long input, tools": in the arena */
	uint64_t prefix;           /* hash of the static front: system messages, tools and leading documents; 0: none */
	struct str last_user;      /* text of the last user message, its first REQUEST_QUESTION_MAX bytes, for static answers; borrowed or in the arena */
};

/*
 * The request without marks of the prompt cache (Anthropic: Prompt caching): `cache_control` of itself, of messages, of their content parts and calls, and of
 * tools. What has none is shared, the rest copied as far as it changes. Owned by the caller.
 */
json_t *request_unmarked(const json_t *request);

#define REQUEST_QUESTION_MAX   65536

#define REQUEST_IMAGE_TOKENS   1100 /* a 1024 × 1024 picture at high detail is 765 (OpenAI) to 1,398 (Anthropic: w·h/750) */
#define REQUEST_PDF_PAGE_BYTES 50000 /* a page is 1,500 to 3,000 tokens (Anthropic); pages are guessed from the size */
#define REQUEST_PDF_PAGE_TOKENS 2250
#define REQUEST_MESSAGE_TOKENS 4    /* what a message costs besides its text */

/* A data: URL in its parts, borrowed. */
struct request_data {
	struct str type;  /* "application/pdf", without parameters; "" for none */
	struct str data;
	bool base64;      /* else percent-encoded */
	size_t bytes;     /* after decoding (of percent-encoded data: at most) */
};
/* False: it is none. */
bool request_data_url(struct str url, struct request_data *ret);
/* NEED_PDF, NEED_TEXT_FILES or NEED_OTHER_FILES: by media type, or where that says nothing by the file's name. */
uint32_t request_file_need(struct str type, struct str name);

/* embeddings: kind of the job. */
void request_facts_read(struct request_facts *ret, const json_t *request, bool embeddings, struct arena *a);

/* Input tokens by a ratio of bytes per token in thousandths (4,000: four bytes), with 10 % on top. */
int64_t request_facts_tokens(const struct request_facts *f, int64_t millibytes_per_token);

#endif
