/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The orders of MILLRACE_FAULTS, read once at the first fault point that is passed: name=action, name=action@N, name=action@N+
 * (without a number: the first hit), separated by commas. One name may have several orders; each counts its own hits. An order
 * that cannot be read ends the process at once, since a test that orders nothing would pass for the wrong reason.
 *
 * The log of hits is written before the action, so that the test also sees the point that killed the process.
 */
#include "common/fault.h"

#ifdef MR_FAULTS

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"

#define ORDERS_MAX 32
#define KILLED 137 /* what a shell shows for a process that kill -9 ended */

enum action { ACTION_EXIT, ACTION_ABORT, ACTION_STOP, ACTION_ERROR, ACTION_SLEEP };

struct order {
	struct str name;
	enum action action;
	uint64_t sleep_ms;
	uint64_t at; /* the first hit that counts */
	bool onward; /* and all after it */
	uint64_t hits;
};

static struct order orders[ORDERS_MAX];
static size_t norders;
static int log_fd = -1;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void say_and_abort(struct str text)
{
	struct buf b;
	buf_init(&b, 4096);
	buf_printf(&b, "MILLRACE_FAULTS: cannot read \"" STR_FMT "\"\n", STR_ARG(text));
	ssize_t ignored = write(STDERR_FILENO, b.p, b.n);
	(void)ignored;
	abort();
}

static bool parse_action(struct str s, struct order *o)
{
	static const char *const names[] = { "exit", "abort", "stop", "error" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		o->action = (enum action)i;
		if (str_eq_z(s, names[i]))
			return true;
	}
	o->action = ACTION_SLEEP;
	return str_has_prefix(s, STR("sleep:")) && str_u64(str_sub(s, 6, s.n), 0, 3600000, &o->sleep_ms) == 0;
}

static bool parse_order(struct str s, struct order *o)
{
	*o = (struct order){ .at = 1 };
	ssize_t at = str_find_char(s, '@');
	if (at >= 0) {
		struct str n = str_sub(s, (size_t)at + 1, s.n);
		o->onward = str_has_suffix(n, STR("+"));
		n.n -= o->onward;
		if (str_u64(n, 1, UINT64_MAX, &o->at) < 0)
			return false;
		s = str_sub(s, 0, (size_t)at);
	}
	return str_split(&s, '=', &o->name) && o->name.n && parse_action(s, o);
}

static void read_orders(void)
{
	const char *path = getenv("MILLRACE_FAULTS_LOG");
	if (path && *path)
		log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	struct str rest = str_from(getenv("MILLRACE_FAULTS")), part;
	while (str_split(&rest, ',', &part)) {
		part = str_trim(part);
		if (part.n == 0)
			continue;
		if (norders == ORDERS_MAX || !parse_order(part, &orders[norders]))
			say_and_abort(part);
		norders++;
	}
}

static void write_hit(struct str name)
{
	char line[128];
	size_t n = MIN(name.n, sizeof(line) - 1);
	memcpy(line, name.p, n);
	line[n] = '\n';
	ssize_t ignored = write(log_fd, line, n + 1);
	(void)ignored;
}

/* True when FAULT is to return true. */
static bool act(const struct order *o)
{
	struct timespec ts = { (time_t)(o->sleep_ms / 1000), (long)(o->sleep_ms % 1000 * 1000000) };
	switch (o->action) {
	case ACTION_EXIT:
		_exit(KILLED);
	case ACTION_ABORT:
		abort();
	case ACTION_STOP:
		raise(SIGSTOP);
		return false;
	case ACTION_SLEEP:
		nanosleep(&ts, NULL);
		return false;
	case ACTION_ERROR:
		return true;
	}
	return false;
}

bool fault_hit(const char *name)
{
	pthread_once(&once, read_orders);
	if (norders == 0 && log_fd < 0)
		return false;
	struct str wanted = str_from(name);
	if (log_fd >= 0)
		write_hit(wanted);
	bool result = false;
	for (size_t i = 0; i < norders; i++) {
		struct order *o = &orders[i];
		if (!str_eq(o->name, wanted))
			continue;
		pthread_mutex_lock(&lock);
		uint64_t hit = ++o->hits;
		pthread_mutex_unlock(&lock);
		if (hit == o->at || (o->onward && hit > o->at))
			result |= act(o);
	}
	return result;
}

#endif
