/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shards: curl's multi handles on the loop. Each call goes to the lowest-numbered shard with room, so that a light load keeps
 * few connections warm, and no multi has more than SHARD_CALLS to search. curl says which sockets to watch and when it wants to be run; the
 * loop says when; after each run the pieces of body are delivered and the finished calls end.
 *
 * A socket stays watched while its connection idles in curl's pool, so a kept-alive call costs no system call for watching. The
 * watch ends when curl closes the descriptor or gives up a connect: no descriptor is watched after it was closed. Unused
 * connections are closed by curl when it looks for one, or here, with their multi, when a shard had no call for so long.
 */
#include "common/http/http_client_priv.h"

#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/http/netguard.h"

/* Runs curl, then takes what it has brought. */
static void shard_run(struct http_shard *shard, curl_socket_t fd, int flags)
{
	int left;
	CURLMsg *msg;

	curl_multi_socket_action(shard->multi, fd, flags, &left);
	http_slots_deliver(shard->client);
	while ((msg = curl_multi_info_read(shard->multi, &left))) {
		char *slot;
		if (msg->msg != CURLMSG_DONE)
			continue;
		CURLcode code = msg->data.result;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &slot);
		struct http_slot *s = (struct http_slot *)(void *)slot;
		http_call_finish(s->call, http_slot_judge(s, code));
	}
}

static void on_kick(struct soon *s)
{
	struct http_shard *shard = container_of(s, struct http_shard, kick);

	if (shard->multi)
		shard_run(shard, CURL_SOCKET_TIMEOUT, 0);
}

static void on_timer(struct timer *t)
{
	struct http_shard *shard = container_of(t, struct http_shard, timer);

	shard_run(shard, CURL_SOCKET_TIMEOUT, 0);
}

static int on_curl_timer(CURLM *multi, long ms, void *arg)
{
	struct http_shard *shard = arg;

	(void)multi;
	timer_stop(&shard->timer);
	if (ms == 0)
		loop_soon(shard->client->loop, &shard->kick);
	else if (ms > 0)
		timer_start(&shard->timer, (uint64_t)ms);
	return 0;
}

/* Sockets. */

static void on_sock_closed(uv_handle_t *handle)
{
	struct http_sock *sock = container_of((uv_poll_t *)handle, struct http_sock, poll);
	struct http_client *client = handle->data;

	free(sock);
	http_client_unpend(client);
}

static void sock_drop(struct http_client *client, curl_socket_t fd)
{
	struct http_sock *sock = (size_t)fd < client->nsocks ? client->socks[fd] : NULL;

	if (!sock)
		return;
	client->socks[fd] = NULL;
	uv_close((uv_handle_t *)&sock->poll, on_sock_closed);
}

int http_sock_on_close(void *client, curl_socket_t fd)
{
	sock_drop(client, fd);
	return close(fd);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct http_sock *sock = container_of(poll, struct http_sock, poll);
	uv_os_fd_t fd;
	int flags = 0;

	if (sock->idle) {
		/* The peer closed an unused connection; curl sees that when it next looks at it. */
		uv_poll_stop(poll);
		sock->events = 0;
		return;
	}
	if (status < 0)
		flags = CURL_CSELECT_ERR;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	if (uv_fileno((uv_handle_t *)poll, &fd) == 0)
		shard_run(sock->shard, fd, flags);
}

static struct http_sock *sock_make(struct http_client *client, curl_socket_t fd)
{
	struct http_sock *sock;

	if ((size_t)fd >= client->nsocks) {
		size_t n = MAX(client->nsocks * 2, (size_t)fd + 64);
		struct http_sock **socks = realloc((void *)client->socks, n * sizeof(*socks));
		if (!socks)
			abort();
		memset((void *)(socks + client->nsocks), 0, (n - client->nsocks) * sizeof(*socks));
		client->socks = socks;
		client->nsocks = n;
	}
	if (client->socks[fd])
		return client->socks[fd];
	sock = calloc(1, sizeof(*sock));
	if (!sock)
		abort();
	if (uv_poll_init(&client->loop->uv, &sock->poll, fd)) {
		free(sock);
		return NULL;
	}
	sock->poll.data = client;
	client->pending++;
	client->socks[fd] = sock;
	return sock;
}

curl_socket_t http_sock_on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *addr)
{
	struct http_slot *s = arg;
	struct http_client *client = s->client;

	(void)purpose;
	if (client->cfg.guard && !netguard_allows_addr(client->cfg.guard, &addr->addr)) {
		s->refused = true;
		return CURL_SOCKET_BAD;
	}
	curl_socket_t fd = socket(addr->family, addr->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, addr->protocol);
	struct http_sock *old = fd >= 0 && (size_t)fd < client->nsocks ? client->socks[fd] : NULL;
	if (old) {
		/* The same number again, and curl may not say so: the new socket is watched as the old one was. */
		int events = old->events;
		struct http_shard *shard = old->shard;
		sock_drop(client, fd);
		struct http_sock *sock = sock_make(client, fd);
		if (sock && uv_poll_start(&sock->poll, events, on_poll) == 0)
			sock->events = events;
		if (sock)
			sock->shard = shard;
	}
	return fd;
}

/* A socket whose connection stands and goes back to curl's pool. Others are about to be closed, or were: curl 7.88 closes the
 * sockets of failed connects by itself, without on_close. */
static bool is_kept(const struct http_sock *sock, CURL *easy)
{
	char *private = NULL;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
	const struct http_slot *s = (struct http_slot *)(void *)private;
	return sock->events == UV_READABLE && s && s->call && s->call->connected;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *fd_arg)
{
	struct http_shard *shard = arg;
	struct http_client *client = shard->client;
	struct http_sock *sock;
	int events = 0;

	(void)fd_arg;
	if (what == CURL_POLL_REMOVE) {
		sock = (size_t)fd < client->nsocks ? client->socks[fd] : NULL;
		if (!sock)
			return 0;
		sock->idle = true;
		if (!is_kept(sock, easy))
			sock_drop(client, fd);
		return 0;
	}
	sock = sock_make(client, fd);
	if (!sock)
		return -1;
	sock->shard = shard;
	sock->idle = false;
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	if (events != sock->events && uv_poll_start(&sock->poll, events, on_poll) == 0)
		sock->events = events;
	return 0;
}

/* Shards. */

static void shard_close(struct http_shard *shard)
{
	timer_stop(&shard->timer);
	timer_stop(&shard->idle);
	loop_soon_cancel(shard->client->loop, &shard->kick);
	if (shard->multi)
		curl_multi_cleanup(take(&shard->multi));
	/* Closing connections may have asked for a timer. */
	timer_stop(&shard->timer);
	loop_soon_cancel(shard->client->loop, &shard->kick);
}

static void on_idle(struct timer *t)
{
	shard_close(container_of(t, struct http_shard, idle));
}

static int shard_open(struct http_shard *shard)
{
	shard->multi = curl_multi_init();
	if (!shard->multi)
		return -ERR_NETWORK;
	curl_multi_setopt(shard->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(shard->multi, CURLMOPT_SOCKETDATA, shard);
	curl_multi_setopt(shard->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(shard->multi, CURLMOPT_TIMERDATA, shard);
	curl_multi_setopt(shard->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	curl_multi_setopt(shard->multi, CURLMOPT_MAXCONNECTS, (long)SHARD_CALLS);
	return 0;
}

static struct http_shard *shard_new(struct http_client *client)
{
	struct http_shard *shard = calloc(1, sizeof(*shard));
	struct http_shard **shards =
		realloc((void *)client->shards, (client->nshards + 1) * sizeof(*client->shards));

	if (!shard || !shards)
		abort();
	shard->client = client;
	shard->at = client->nshards;
	shard->kick.fn = on_kick;
	timer_init(&shard->timer, client->loop, on_timer);
	timer_init(&shard->idle, client->loop, on_idle);
	shards[client->nshards++] = shard;
	client->shards = shards;
	return shard;
}

int http_shard_add(struct http_client *client, struct http_slot *s)
{
	size_t at = client->first_room;
	struct http_shard *shard;

	while (at < client->nshards && client->shards[at]->calls >= SHARD_CALLS)
		at++;
	client->first_room = at;
	shard = at < client->nshards ? client->shards[at] : shard_new(client);
	timer_stop(&shard->idle);
	if (!shard->multi && shard_open(shard))
		return -ERR_NETWORK;
	if (curl_multi_add_handle(shard->multi, s->easy) != CURLM_OK)
		return -ERR_NETWORK;
	s->shard = shard;
	shard->calls++;
	return 0;
}

void http_shard_remove(struct http_slot *s)
{
	struct http_shard *shard = take(&s->shard);

	if (!shard)
		return;
	curl_multi_remove_handle(shard->multi, s->easy);
	assert(shard->calls > 0);
	shard->calls--;
	shard->client->first_room = MIN(shard->client->first_room, shard->at);
	if (shard->calls == 0)
		timer_start(&shard->idle, shard->client->cfg.idle_ms);
}

void http_shards_done(struct http_client *client)
{
	for (size_t i = 0; i < client->nshards; i++) {
		assert(client->shards[i]->calls == 0);
		shard_close(client->shards[i]);
		free(client->shards[i]);
	}
	client->nshards = 0;
	curl_share_cleanup(take(&client->share));
	X509_STORE_free(take(&client->ca));
}
