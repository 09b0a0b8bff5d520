/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the files of one directory in any order and hands them to the target. Dot files are left out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/corpus.h"

#include <dirent.h>

#include "common/file.h"

static void replay_file(const char *dir, const char *name, size_t cuts, int (*target)(const uint8_t *data, size_t n))
{
	struct arena a;
	struct str content;
	struct err err = { .code = ERR_OK };
	arena_init(&a, (size_t)4 << 20);
	if (file_read(arena_printf(&a, "%s/%s", dir, name).p, (size_t)1 << 20, &a, &content, &err) < 0)
		fail_msg("%s/%s: %s", dir, name, err.text);
	for (size_t cut = 0; cut < MIN(content.n, cuts); cut++)
		target((const uint8_t *)content.p, cut);
	target((const uint8_t *)content.p, content.n);
	arena_done(&a);
}

void corpus_replay(const char *dir, size_t wanted, size_t cuts, int (*target)(const uint8_t *data, size_t n))
{
	size_t files = 0;
	DIR *d = opendir(dir);
	if (!d)
		fail_msg("%s is not there", dir);
	for (const struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		replay_file(dir, e->d_name, cuts, target);
		files++;
	}
	closedir(d);
	assert_true(files >= wanted);
}
