/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole files. A write goes to PATH.PID.tmp in the same directory (rename works within one file system only), is
 * flushed, and takes the place of the old file at once; when anything fails the temporary file is removed and the old
 * one stays as it was.
 */
#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

int file_read(const char *path, size_t max, struct arena *a, struct str *ret, struct err *err)
{
	_cleanup_(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0)
		return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(err, ERR_IO, "%s: not a regular file", path);
	if (st.st_size < 0 || (size_t)st.st_size > max)
		return err_set(err, ERR_TOO_LARGE, "%s: larger than %zu bytes", path, max);

	/* A file that grows while it is read is cut at the size it had. */
	size_t want = (size_t)st.st_size, n = 0;
	char *p = arena_alloc(a, want + 1);
	while (n < want) {
		ssize_t got = read(fd, p + n, want - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
		if (got == 0)
			break;
		n += (size_t)got;
	}
	p[n] = '\0';
	*ret = (struct str){ p, n };
	return 0;
}

static bool write_all(int fd, struct str s)
{
	while (s.n) {
		ssize_t done = write(fd, s.p, s.n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		s = str_sub(s, (size_t)done, s.n);
	}
	return true;
}

int file_write(const char *path, mode_t mode, struct str content, struct err *err)
{
	_cleanup_(buf_done) struct buf temporary;
	buf_init(&temporary, 8192);
	buf_printf(&temporary, "%s.%d.tmp%c", path, (int)getpid(), '\0');
	if (buf_failed(&temporary))
		return err_set(err, ERR_IO, "%s: the path is too long", path);

	unlink(temporary.p); /* of an earlier process with our number */
	_cleanup_(fd_close) int fd = open(temporary.p, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return err_set(err, ERR_IO, "%s: %s", temporary.p, strerror(errno));
	if (fchmod(fd, mode) < 0 || !write_all(fd, content) || fsync(fd) < 0 || rename(temporary.p, path) < 0) {
		int rc = err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
		unlink(temporary.p);
		return rc;
	}
	return 0;
}

int file_write_ready(const char *path, const char *url, struct err *err)
{
	_cleanup_(buf_done) struct buf text;
	buf_init(&text, 8192);
	buf_printf(&text, "{\"pid\":%d", (int)getpid());
	if (url) {
		buf_add_z(&text, ",\"url\":");
		buf_add_json_str(&text, str_from(url));
	}
	buf_add_z(&text, "}\n");
	if (buf_failed(&text))
		return err_set(err, ERR_TOO_LARGE, "the URL for %s is too long", path);
	return file_write(path, 0600, buf_str(&text), err);
}
