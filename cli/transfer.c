/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files to and from the service. A file that is sent is read whole first, so that one that cannot be read, or changes meanwhile, sends nothing; it goes as
 * one form, with an Idempotency-Key, so that a repeat after a lost answer makes no second file. What is fetched goes to its place piece by piece; when the
 * answer is cut, that is said and the exit status tells, what came stays.
 */
#include "cli/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/exit.h"
#include "common/crypto.h"

#define PIECE           65536
#define SEND_TIMEOUT_MS 600000

static bool is_standard(const char *name)
{
	return strcmp(name, "-") == 0;
}

static int read_all(const char *command, const char *name, int fd, struct buf *text)
{
	for (;;) {
		char *room = buf_room(text, PIECE);
		if (!room) {
			fprintf(stderr, "millrace %s: %s is larger than %zu MiB\n", command, name, TRANSFER_MAX >> 20);
			return CLI_EXIT_FAILED;
		}
		ssize_t n = read(fd, room, PIECE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			fprintf(stderr, "millrace %s: %s: %s\n", command, name, strerror(errno));
			return CLI_EXIT_FAILED;
		}
		if (n == 0)
			return 0;
		buf_grown(text, (size_t)n);
	}
}

int transfer_read(const char *command, const char *name, struct buf *text)
{
	buf_init(text, TRANSFER_MAX + PIECE);
	if (is_standard(name)) {
		if (isatty(STDIN_FILENO))
			fprintf(stderr, "millrace %s: reading standard input until Ctrl-D\n", command);
		return read_all(command, "standard input", STDIN_FILENO, text);
	}
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		int status = errno == ENOENT ? CLI_EXIT_NOT_FOUND : CLI_EXIT_FAILED;
		fprintf(stderr, "millrace %s: %s: %s\n", command, name, strerror(errno));
		return status;
	}
	int rc = read_all(command, name, fd, text);
	close(fd);
	return rc;
}

/* --- sending --- */

static void add_field(struct buf *b, struct str boundary, const char *name, struct str value)
{
	buf_printf(b, "--" STR_FMT "\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n" STR_FMT "\r\n", STR_ARG(boundary), name, STR_ARG(value));
}

/* A name as a form's header can hold it (WHATWG: multipart/form-data encoding). */
static void add_filename(struct buf *b, const char *path)
{
	const char *slash = strrchr(path, '/');
	for (const char *p = slash ? slash + 1 : path; *p; p++)
		if (*p == '"' || *p == '\r' || *p == '\n')
			buf_printf(b, "%%%02X", (unsigned char)*p);
		else
			buf_add_char(b, *p);
}

static void make_form(struct buf *b, const struct transfer_wish *w, struct str boundary, struct str content)
{
	add_field(b, boundary, "purpose", str_from(w->purpose));
	if (w->expires_s) {
		struct buf seconds;
		buf_init(&seconds, 32);
		buf_add_i64(&seconds, w->expires_s);
		add_field(b, boundary, "expires_after[anchor]", STR("created_at"));
		add_field(b, boundary, "expires_after[seconds]", buf_str(&seconds));
		buf_done(&seconds);
	}
	buf_printf(b, "--" STR_FMT "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"", STR_ARG(boundary));
	add_filename(b, w->filename);
	buf_add_z(b, "\"\r\nContent-Type: application/octet-stream\r\n\r\n");
	buf_add_str(b, content);
	buf_printf(b, "\r\n--" STR_FMT "--\r\n", STR_ARG(boundary));
}

int transfer_send(struct client *c, const struct transfer_wish *w, struct str content, json_t **ret)
{
	_cleanup_(buf_done) struct buf boundary, type, body, key;
	struct client_answer a;
	buf_init(&boundary, 128);
	buf_init(&type, 256);
	buf_init(&key, 64);
	buf_init(&body, TRANSFER_MAX + 2 * PIECE);
	buf_add_z(&boundary, "millrace-");
	crypto_random_base62(&boundary, 32); /* so long that no content holds it */
	buf_printf(&type, "multipart/form-data; boundary=" STR_FMT, STR_ARG(buf_str(&boundary)));
	buf_add_char(&type, 0);
	crypto_random_base62(&key, 24);
	buf_add_char(&key, 0);
	make_form(&body, w, buf_str(&boundary), content);
	const struct client_request r = { .method = "POST",
		                          .path = STR("/v1/files"),
		                          .body = buf_str(&body),
		                          .content_type = type.p,
		                          .idempotency_key = w->idempotency_key ? w->idempotency_key : key.p,
		                          .timeout_ms = SEND_TIMEOUT_MS };
	int rc = client_call(c, &r, &a);
	if (rc == 0 && json_str(a.body, "id").n == 0)
		rc = err_set(&a.err, ERR_BAD_OUTPUT, "the service's answer has no id");
	int status = rc ? client_complain(c, w->command, &a) : 0;
	if (status == 0)
		*ret = take(&a.body);
	client_answer_done(&a);
	return status;
}

/* --- fetching --- */

int transfer_open(const char *command, const char *name, FILE **ret)
{
	if (!name && isatty(STDOUT_FILENO))
		return cli_usage_error(command, "give --output FILE, or --output - to have it on this terminal");
	*ret = !name || is_standard(name) ? stdout : fopen(name, "we");
	if (*ret)
		return 0;
	fprintf(stderr, "millrace %s: %s: %s\n", command, name, strerror(errno));
	return CLI_EXIT_FAILED;
}

int transfer_close(const char *command, const char *name, FILE *out, int rc)
{
	bool failed = out == stdout ? fflush(out) != 0 : fclose(out) != 0;
	if (!failed || rc)
		return rc;
	fprintf(stderr, "millrace %s: %s: %s\n", command, out == stdout ? "standard output" : name, strerror(errno));
	return CLI_EXIT_FAILED;
}

struct fetch {
	FILE *out;
	int error; /* errno of a failed write */
};

static int on_piece(void *arg, struct str piece)
{
	struct fetch *f = arg;
	if (fwrite(piece.p, 1, piece.n, f->out) == piece.n)
		return 0;
	f->error = errno;
	return -ERR_IO;
}

int transfer_fetch(struct client *c, const char *command, struct str id, FILE *out)
{
	_cleanup_(buf_done) struct buf path;
	struct client_answer a;
	struct fetch f = { .out = out };
	buf_init(&path, 4096);
	buf_printf(&path, "/v1/files/" STR_FMT "/content", STR_ARG(id));
	const struct client_request r = { .method = "GET", .path = buf_str(&path), .on_data = on_piece, .arg = &f };
	int rc = client_call(c, &r, &a), status = CLI_EXIT_OK;
	if (rc && f.error) {
		if (f.error != EPIPE) /* `… | head` has what it wanted */
			fprintf(stderr, "millrace %s: writing failed: %s\n", command, strerror(f.error));
		status = CLI_EXIT_FAILED;
	} else if (rc) {
		status = client_complain(c, command, &a);
	}
	client_answer_done(&a);
	return status;
}
