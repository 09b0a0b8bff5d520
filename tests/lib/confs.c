/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. The file is in /tmp for the length of one test. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/confs.h"

static struct arena arena;
static char path[64];

int confs_open(void **state UNUSED)
{
	static const char template[] = "/tmp/millrace-conf-XXXXXX";
	arena_init(&arena, 64 << 20);
	memcpy(path, template, sizeof(template));
	int fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

int confs_close(void **state UNUSED)
{
	unlink(path);
	path[0] = 0;
	arena_done(&arena);
	return 0;
}

struct arena *confs_arena(void)
{
	return &arena;
}

const char *confs_path(void)
{
	return path;
}

const char *confs_write(const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
	return path;
}

struct conf *confs_good(const char *text)
{
	struct conf *c = NULL;
	struct conf_mistake *m;
	size_t n;
	int rc = conf_load(text ? confs_write(text) : NULL, &arena, &c, &m, &n);
	for (size_t i = 0; i < n; i++)
		print_error(STR_FMT ": " STR_FMT "\n", STR_ARG(m[i].path), STR_ARG(m[i].text));
	assert_int_equal(rc, 0);
	return c;
}

void confs_mistakes(const char *text, const char *const *want)
{
	struct conf *c = NULL;
	struct conf_mistake *m;
	size_t n, i = 0;
	assert_int_equal(conf_load(confs_write(text), &arena, &c, &m, &n), -ERR_CONFIG);
	for (; want[2 * i]; i++) {
		if (i >= n)
			fail_msg("no mistake at %s", want[2 * i]);
		if (!str_eq_z(m[i].path, want[2 * i]) || str_find(m[i].text, str_from(want[2 * i + 1])) < 0)
			fail_msg("wanted %s: …%s…, got " STR_FMT ": " STR_FMT, want[2 * i], want[2 * i + 1],
			         STR_ARG(m[i].path), STR_ARG(m[i].text));
	}
	if (i < n)
		fail_msg("one more: " STR_FMT ": " STR_FMT, STR_ARG(m[i].path), STR_ARG(m[i].text));
}
