/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of raw bytes for tests of the HTTP server, on the same loop as the server: whatever waits runs the loop,
 * with a limit of ten seconds. It says exactly what it is told to, in the pieces it is told to, and reads answers
 * one by one.
 */
#ifndef MR_TESTS_LIB_RAWHTTP_H
#define MR_TESTS_LIB_RAWHTTP_H

#include "common/buf.h"
#include "common/loop.h"

struct raw {
	struct loop *loop;
	int fd;
	struct buf in; /* received, not yet taken */
	bool eof;      /* the server has closed, or reset */
	bool reset;
	bool deaf; /* do not read for now */
};

struct raw_answer {
	int status;
	char head[4096]; /* status line and headers, NUL-terminated */
	struct buf body; /* decoded; raw_answer_done frees it */
	bool cut;        /* the connection ended before the answer did */
};

void raw_open(struct raw *c, struct loop *l, int port);
void raw_done(struct raw *c);
void raw_send(struct raw *c, struct str bytes); /* whole, as the socket takes it */
void raw_send_bytes(struct raw *c,
                    struct str bytes); /* one byte for each turn of the loop; stops when the server has closed */
void raw_shutdown(struct raw *c);
bool raw_turn(struct raw *c); /* one turn of the loop and one read; false when nothing more can come (eof) */
/* Runs until done(arg) or the limit; true when done. */
bool raw_until(struct raw *c, bool (*done)(void *arg), void *arg);
bool raw_wait_eof(struct raw *c); /* true when the server closed and nothing unread came before */
/* The next answer (1xx are answers too). head_only: of a HEAD request. False when none came. */
bool raw_answer(struct raw *c, bool head_only, struct raw_answer *ret);
void raw_answer_done(struct raw_answer *a);
/* A header's value in an answer's head, into out; NULL when absent. */
const char *raw_header(const struct raw_answer *a, const char *name, char *out, size_t n);

#endif
