/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the listening socket of "host:port", "[v6]:port", "*:port" or "unix:/path". SO_REUSEPORT has to be set
 * before bind, which libuv 1.44 does not offer: so the socket is made here. TCP_NODELAY and keepalives are set on
 * it once; Linux hands them on to each accepted socket, which saves calls per client. A dead process's socket file
 * is taken over, a live one's is not.
 */
#include "common/http/http_conn.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096

static int io_error(struct err *err, int fd, const char *what, const char *listen)
{
	int saved = errno;
	if (fd >= 0)
		close(fd);
	return err_set(err, ERR_IO, "%s %s: %s", what, listen, strerror(saved));
}

static bool is_stale(const struct sockaddr_un *a)
{
	struct stat st;
	if (lstat(a->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	bool stale = connect(fd, (const struct sockaddr *)a, sizeof(*a)) < 0 && errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static int listen_unix(const char *path, char unix_path[108], struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	if (!n || n >= sizeof(a.sun_path))
		return err_set(err, ERR_CONFIG, "unix:%s: the path must have 1 to %zu bytes", path,
		               sizeof(a.sun_path) - 1);
	memcpy(a.sun_path, path, n);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return io_error(err, fd, "socket for", path);
	if (is_stale(&a))
		unlink(path);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, BACKLOG) < 0)
		return io_error(err, fd, "listening on", path);
	memcpy(unix_path, path, n + 1);
	return fd;
}

static int set_options(int fd, const struct addrinfo *ai, bool reuse_port)
{
	int one = 1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -1;
	if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
		return -1;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)) < 0)
		return -1;
	return bind(fd, ai->ai_addr, ai->ai_addrlen);
}

static int bound_port(int fd)
{
	struct sockaddr_storage a = { 0 };
	socklen_t n = sizeof(a);
	if (getsockname(fd, (struct sockaddr *)&a, &n) < 0)
		return 0;
	if (a.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)(const void *)&a)->sin6_port);
	return ntohs(((const struct sockaddr_in *)(const void *)&a)->sin_port);
}

/* "host:port" in two; false when it is not that. */
static bool split(const char *text, char host[256], char port[8])
{
	const char *colon = strrchr(text, ':');
	uint64_t ignored;
	if (!colon || str_u64(str_from(colon + 1), 0, 65535, &ignored) < 0)
		return false;
	struct str h = { text, (size_t)(colon - text) };
	if (h.n > 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
		h = str_sub(h, 1, h.n - 2);
	if (h.n >= 256 || strlen(colon + 1) >= 8)
		return false;
	memcpy(host, h.p, h.n);
	host[h.n] = '\0';
	memcpy(port, colon + 1, strlen(colon));
	return true;
}

int http_listen(const char *text, bool reuse_port, int *ret_port, char unix_path[108], struct err *err)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *ai = NULL;
	char host[256], port[8];
	if (str_has_prefix(str_from(text), STR("unix:")))
		return listen_unix(text + 5, unix_path, err);
	if (!split(text, host, port))
		return err_set(err, ERR_CONFIG, "%s: an address is host:port or unix:/path", text);
	bool any = !host[0] || strcmp(host, "*") == 0;
	int rc = getaddrinfo(any ? NULL : host, port, &hints, &ai);
	if (rc != 0)
		return err_set(err, ERR_CONFIG, "%s: %s", text, gai_strerror(rc));
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool bound = fd >= 0 && set_options(fd, ai, reuse_port) == 0;
	freeaddrinfo(ai);
	if (!bound || listen(fd, BACKLOG) < 0)
		return io_error(err, fd, "listening on", text);
	*ret_port = bound_port(fd);
	return fd;
}
