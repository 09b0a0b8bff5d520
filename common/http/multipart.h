/* SPDX-License-Identifier: Apache-2.0 */
/*
 * multipart/form-data (RFC 7578, RFC 2046) as it arrives: given pieces of any size, it tells where parts begin, what their data is and where they end. It
 * keeps no data: a piece of data is borrowed from the piece that was given, or is a stretch that only looked like a boundary.
 *
 *   multipart_init ─▶ for each piece: multipart_next until MULTIPART_MORE ─▶ multipart_end
 *   events: (PART DATA* PART_END)* WHOLE
 *
 * Lines end with CRLF and with nothing else. What is ambiguous is refused, so that no two readers see different parts: a part without
 * Content-Disposition: form-data or without a name, a header, name or parameter twice, folded headers, control characters in names, a transfer encoding,
 * text right after a boundary.
 */
#ifndef MR_COMMON_HTTP_MULTIPART_H
#define MR_COMMON_HTTP_MULTIPART_H

#include "common/err.h"

/* All enforced: more is refused. */
#define MULTIPART_BOUNDARY_MAX 70   /* RFC 2046, 5.1.1; at least 1 */
#define MULTIPART_PARTS_MAX    100
#define MULTIPART_HEAD_MAX     4096 /* bytes of all headers of a part */
#define MULTIPART_FRAME_MAX    1024 /* bytes before the first boundary, after the last, and of white space behind one */

enum multipart_event {
	MULTIPART_MORE,     /* the piece is used up */
	MULTIPART_PART,     /* a part begins: m->part tells of it */
	MULTIPART_DATA,     /* bytes of it, at least one */
	MULTIPART_PART_END,
	MULTIPART_WHOLE,    /* the last boundary was there; what follows is thrown away */
};

/* Texts are borrowed from the parser until the next part. */
struct multipart_part {
	struct str name;         /* UTF-8 without control characters; may be empty */
	struct str filename;     /* likewise, as the client gave it: perhaps with a path; p NULL: none */
	struct str content_type; /* printable ASCII; p NULL: none */
};

struct multipart {
	struct multipart_part part; /* since MULTIPART_PART */
	int parts;                  /* that have begun */
	/* private */
	char delimiter[4 + MULTIPART_BOUNDARY_MAX]; /* CR LF - - boundary */
	size_t delimiter_n;
	size_t matched, borrowed;   /* bytes of the delimiter that the text ends with; so many of them are no data anyway */
	size_t frame;               /* bytes of this preamble, white space or epilogue */
	int state;
	char after[2];              /* of what follows a boundary */
	size_t after_n;
	char head[MULTIPART_HEAD_MAX], names[MULTIPART_HEAD_MAX]; /* names: what the head's texts became */
	size_t head_n, names_n;
};

/* content_type: of the whole body. -ERR_MEDIA_TYPE when it is not multipart/form-data, -ERR_INVALID when its boundary is missing or wrong. */
int multipart_init(struct multipart *m, struct str content_type, struct err *err);
/* The next event of *piece, whose front it takes off; DATA gives *ret_data. A multipart_event or -ERR_INVALID, -ERR_TOO_LARGE: nothing can follow. */
int multipart_next(struct multipart *m, struct str *piece, struct str *ret_data, struct err *err);
/* The body is over: 0, or -ERR_INVALID with err telling what is missing. */
int multipart_end(const struct multipart *m, struct err *err);

#endif
