/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files: what is written is read back, a bound holds, and a failed write leaves the old file. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"

struct fixture {
	char dir[32];
	struct arena arena;
	const char *path;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	memcpy(f->dir, "/tmp/test-file-XXXXXX", 22);
	assert_non_null(mkdtemp(f->dir));
	arena_init(&f->arena, 1 << 20);
	f->path = arena_printf(&f->arena, "%s/file", f->dir).p;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unlink(f->path);
	int rc = rmdir(f->dir); /* fails when a temporary file was left */
	arena_done(&f->arena);
	free(f);
	return rc;
}

static void test_file_write_is_read_back_with_its_mode(void **state)
{
	struct fixture *f = *state;
	struct err err = { 0 };
	struct stat st;
	struct str text;
	assert_int_equal(file_write(f->path, 0600, STR("one"), &err), 0);
	assert_int_equal(file_write(f->path, 0640, STR("two\0three"), &err), 0);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(file_read(f->path, 100, &f->arena, &text, &err), 0);
	assert_int_equal(text.n, 9);
	assert_memory_equal(text.p, "two\0three", 10);
}

static void test_file_read_names_what_is_wrong(void **state)
{
	struct fixture *f = *state;
	struct err err = { 0 };
	struct str text;
	assert_int_equal(file_read(f->path, 100, &f->arena, &text, &err), -ERR_NOT_FOUND);
	assert_non_null(strstr(err.text, f->path));
	assert_int_equal(file_read(f->dir, 100, &f->arena, &text, &err), -ERR_IO);
	assert_int_equal(file_write(f->path, 0600, STR("12345"), &err), 0);
	assert_int_equal(file_read(f->path, 4, &f->arena, &text, &err), -ERR_TOO_LARGE);
	assert_int_equal(file_read(f->path, 5, &f->arena, &text, &err), 0);
}

static void test_file_write_failure_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct err err = { 0 };
	/* A directory stands where the file should go: the rename fails after all was written. */
	assert_int_equal(mkdir(f->path, 0700), 0);
	assert_int_equal(file_write(f->path, 0600, STR("x"), &err), -ERR_IO);
	assert_int_equal(rmdir(f->path), 0);
	assert_int_equal(file_write("/nonexistent/x", 0600, STR("x"), &err), -ERR_IO);
}

static void test_file_ready_is_json(void **state)
{
	struct fixture *f = *state;
	struct str text;
	assert_int_equal(file_write_ready(f->path, "http://[::1]:80/\"", NULL), 0);
	assert_int_equal(file_read(f->path, 200, &f->arena, &text, NULL), 0);
	struct str want = arena_printf(&f->arena, "{\"pid\":%d,\"url\":\"http://[::1]:80/\\\"\"}\n", (int)getpid());
	assert_string_equal(text.p, want.p);
	assert_int_equal(file_write_ready(f->path, NULL, NULL), 0);
	assert_int_equal(file_read(f->path, 200, &f->arena, &text, NULL), 0);
	want = arena_printf(&f->arena, "{\"pid\":%d}\n", (int)getpid());
	assert_string_equal(text.p, want.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_file_write_is_read_back_with_its_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_read_names_what_is_wrong, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_write_failure_leaves_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_ready_is_json, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
