/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port is tried by binding to it without SO_REUSEPORT: that fails when any process listens there, also one that would
 * share it, and several api processes share theirs. All addresses of a host name are tried; the first that can be bound
 * at all counts.
 */
#include "cli/up_port.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEARCHED 100

static int bound_port(int fd)
{
	struct sockaddr_storage ss;
	union {
		struct sockaddr_storage *storage;
		struct sockaddr *any;
		struct sockaddr_in *v4;
		struct sockaddr_in6 *v6;
	} at = { .storage = &ss };
	socklen_t n = sizeof(ss);
	if (getsockname(fd, at.any, &n) < 0)
		return -ERR_INVALID;
	return ntohs(ss.ss_family == AF_INET6 ? at.v6->sin6_port : at.v4->sin_port);
}

static int try_address(const struct addrinfo *ai)
{
	int one = 1, rc = -ERR_INVALID;
	int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC, ai->ai_protocol);
	if (fd < 0)
		return rc;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0)
		rc = bound_port(fd);
	else if (errno == EADDRINUSE || errno == EACCES)
		rc = -ERR_CONFLICT;
	close(fd);
	return rc;
}

int up_port_try(const char *host, int port)
{
	const struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
	struct addrinfo *all = NULL;
	struct arena a;
	arena_init(&a, 64);
	int rc = getaddrinfo(host, arena_printf(&a, "%d", port).p, &hints, &all);
	arena_done(&a);
	if (rc != 0)
		return -ERR_INVALID;
	rc = -ERR_INVALID;
	for (const struct addrinfo *ai = all; ai && rc == -ERR_INVALID; ai = ai->ai_next)
		rc = try_address(ai);
	freeaddrinfo(all);
	return rc;
}

int up_port_split(struct str listen, struct arena *a, const char **ret_host, int *ret_port)
{
	uint64_t port;
	size_t colon = listen.n;
	while (colon > 0 && listen.p[colon - 1] != ':')
		colon--;
	if (colon < 2 || str_u64(str_sub(listen, colon, listen.n), 0, 65535, &port) < 0)
		return -ERR_INVALID;
	struct str host = str_sub(listen, 0, colon - 1);
	bool bracketed = host.p[0] == '[';
	if (bracketed && (host.n < 3 || host.p[host.n - 1] != ']'))
		return -ERR_INVALID;
	if (bracketed)
		host = str_sub(host, 1, host.n - 2);
	else if (str_find_char(host, ':') >= 0)
		return -ERR_INVALID;
	*ret_host = arena_strz(a, host);
	*ret_port = (int)port;
	return 0;
}

int up_port_choose(const char *wanted, bool search, struct arena *a, const char **ret, struct err *err)
{
	const char *host;
	int port, rc = -ERR_CONFLICT;
	*ret = wanted;
	if (str_has_prefix(str_from(wanted), STR("unix:")))
		return 0;
	if (up_port_split(str_from(wanted), a, &host, &port) < 0)
		return err_set(err, ERR_INVALID, "--listen: wanted HOST:PORT, [V6]:PORT or unix:/PATH, got %s", wanted);
	for (int i = 0; rc == -ERR_CONFLICT && i <= (search ? SEARCHED : 0) && port + i <= 65535; i++)
		rc = up_port_try(host, port + i);
	if (rc == -ERR_CONFLICT)
		return err_set(err, ERR_CONFLICT, "%s is taken: another process listens there (see --listen)", wanted);
	if (rc < 0)
		return err_set(err, ERR_INVALID, "--listen: %s is not an address of this machine", wanted);
	*ret = strchr(host, ':') ? arena_printf(a, "[%s]:%d", host, rc).p : arena_printf(a, "%s:%d", host, rc).p;
	return 0;
}
