/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs on a real database: what is written comes back, whatever the pieces; what is dropped, swept or deleted is not there; files become parts of a
 * request. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/files/blob_read.h"
#include "api/files/blob_write.h"
#include "api/files/file_parts.h"
#include "api/files/files.h"
#include "cli/migrate.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "tests/lib/confs.h"
#include "tests/lib/dbtest.h"
#include "tests/lib/pg.h"

#define TENANT 1
#define BYTES_MAX 5000000u

static struct dbtest t;
static struct api api;
static int completions, last_rc;

static void on_done(struct op *op, int rc)
{
	(void)op;
	completions++;
	last_rc = rc;
}

static int wait_for(int before)
{
	dbtest_until(&t, &completions, before + 1);
	return last_rc;
}

static char *bytes; /* owned; of bytes_of */

static int opened(void **state)
{
	(void)state;
	struct err err = { 0 };
	const char *url = pg_test_url();
	if (migrate_run(url, NULL, &err) < 0)
		fail_msg("%s", err.text);
	confs_open(state);
	conf_set_now(confs_good("{\"limits\": {\"inlined_bytes\": \"2MiB\"}}"));
	struct db_cfg cfg = dbtest_cfg(url);
	dbtest_open(&t, &cfg);
	dbtest_until_up(&t, true);
	api.db = api.lists = api.blobs = t.db;
	return 0;
}

static int closed(void **state)
{
	(void)state;
	dbtest_close(&t);
	conf_set_now(NULL);
	confs_close(state);
	free(bytes);
	return 0;
}

/* Bytes that differ from place to place. */
static struct str bytes_of(size_t n)
{
	if (!bytes) {
		bytes = malloc(BYTES_MAX);
		assert_non_null(bytes);
		for (size_t i = 0; i < BYTES_MAX; i++)
			bytes[i] = (char)(i * 31 + i / 251 + i / 65536);
	}
	assert_true(n <= BYTES_MAX);
	return (struct str){ bytes, n };
}

static int waits; /* for room */
static void on_room(struct blob_write *w)
{
	(void)w;
	completions++;
}

/* Writes n bytes in pieces of `step`, waiting for room as a good writer does. */
static struct id write_blob(struct blob_write *w, size_t n, size_t step)
{
	struct id id = id_make(7);
	struct str rest = bytes_of(n);
	blob_write_begin(w, &api, id, TENANT);
	w->on_room = on_room;
	for (; rest.n; rest = str_sub(rest, step, rest.n)) {
		blob_write_add(w, str_sub(rest, 0, step));
		assert_true(w->in_flight <= BLOB_WRITE_FLIGHT);
		assert_true(w->pending.n <= BLOB_CHUNK_BYTES + step);
		while (!blob_write_has_room(w)) {
			waits++;
			dbtest_until(&t, &completions, completions + 1);
		}
	}
	w->op.on_done = on_done;
	int before = completions;
	blob_write_end(w, NULL);
	assert_int_equal(wait_for(before), 0);
	assert_int_equal(w->bytes, n);
	blob_write_done(w);
	return id;
}

static struct id make_file(struct id blob, size_t n, const char *name, const char *type)
{
	struct db_query q = { 0 };
	struct id id = id_make(id_bucket(blob));
	const struct file_new f = { .id = id, .blob = blob, .bytes = (int64_t)n, .tenant_id = TENANT, .purpose = STR("user_data"), .filename = str_from(name),
		                    .mime_type = str_from(type) };
	for (int again = 0; again < 2; again++) { /* the second time as after a lost answer */
		file_new_query(&q, &f);
		q.op.on_done = on_done;
		int before = completions;
		assert_int_equal(db_query_start(t.db, &q, NULL), 0);
		assert_int_equal(wait_for(before), 0);
		assert_true(db_get_bool(&q, 0, FILE_NEW_ROOM));
		bool made = !db_is_null(&q, 0, FILE_NEW_ID);
		if (!made)
			id = (struct id){ 0 };
		assert_true(!made || id_eq(db_get_id(&q, 0, FILE_NEW_ID), id));
		db_query_done(&q);
	}
	return id;
}

static struct id new_file(size_t n, size_t step, const char *name, const char *type)
{
	struct blob_write w = { 0 };
	struct id id = make_file(write_blob(&w, n, step), n, name, type);
	assert_false(id_is_zero(id));
	return id;
}

static int read_open(struct blob_read *r, struct id file, int64_t tenant)
{
	int before = completions;
	r->op.on_done = on_done;
	assert_int_equal(blob_read_open(r, &api, file, tenant, NULL), 0);
	return wait_for(before);
}

static int read_next(struct blob_read *r)
{
	int before = completions;
	int rc = blob_read_next(r, NULL);
	return rc < 0 ? rc : wait_for(before);
}

static void assert_range(struct blob_read *r, int64_t from, int64_t n, struct str want)
{
	int rc;
	struct buf got;
	buf_init(&got, SIZE_MAX / 8);
	blob_read_range(r, from, n);
	while ((rc = read_next(r)) > 0) {
		assert_true(r->piece.n <= BLOB_READ_BYTES);
		buf_add_str(&got, r->piece);
	}
	assert_int_equal(rc, 0);
	assert_true(str_eq(buf_str(&got), want));
	buf_done(&got);
}

static void test_blob_comes_back_as_it_was_written(void **state)
{
	(void)state;
	static const struct {
		size_t n, step;
	} rows[] = { { 0, 1 }, { 1, 1 }, { BLOB_CHUNK_BYTES - 1, 4096 }, { BLOB_CHUNK_BYTES, 65536 }, { BLOB_CHUNK_BYTES + 1, 65537 }, { 5000000, 65536 },
		     { 5000000, 5000000 }, { 3 * BLOB_CHUNK_BYTES, BLOB_CHUNK_BYTES } };
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct blob_read r = { 0 };
		struct str all = bytes_of(rows[i].n);
		struct id file = new_file(rows[i].n, rows[i].step, "a.bin", "application/x-a");
		assert_int_equal(read_open(&r, file, TENANT), 0);
		assert_int_equal(r.bytes, rows[i].n);
		assert_true(str_eq(r.filename, STR("a.bin")) && str_eq(r.purpose, STR("user_data")) && str_eq(r.mime_type, STR("application/x-a")));
		assert_range(&r, 0, INT64_MAX, all);
		if (rows[i].n > 600000) {
			assert_range(&r, 524287, 2, str_sub(all, 524287, 2));
			assert_range(&r, 100, 600000, str_sub(all, 100, 600000));
			assert_range(&r, (int64_t)rows[i].n - 1, 50, str_sub(all, rows[i].n - 1, 1));
			assert_range(&r, (int64_t)rows[i].n + 5, 50, STR(""));
		}
		blob_read_done(&r);
	}
	assert_true(waits > 0); /* the writer was held back */
}

static void test_blob_of_another_tenant_is_not_there(void **state)
{
	(void)state;
	struct blob_read r = { 0 };
	struct id file = new_file(10, 10, "a", "");
	assert_int_equal(read_open(&r, file, TENANT + 1), -ERR_NOT_FOUND);
	blob_read_done(&r);
	assert_int_equal(read_open(&r, id_make(3), TENANT), -ERR_NOT_FOUND);
	blob_read_done(&r);
}

static void test_blob_that_was_dropped_becomes_no_file(void **state)
{
	(void)state;
	struct blob_write w = { 0 };
	struct id blob = write_blob(&w, 1000, 100);
	pg_test_sql("update blob set state = 2 where state = 0");
	assert_true(id_is_zero(make_file(blob, 1000, "a", "")));
	int before = completions;
	blob_write_begin(&w, &api, id_make(7), TENANT);
	blob_write_add(&w, bytes_of(2000000)); /* chunks are on their way */
	w.op.on_done = on_done;
	blob_write_drop(&w, NULL);
	assert_int_equal(wait_for(before), 0);
	blob_write_done(&w);
	assert_int_equal(pg_test_number("select count(*) from blob where state = 0"), 0);
}

static void test_blob_deleted_under_a_reader_ends_it(void **state)
{
	(void)state;
	struct blob_read r = { 0 };
	struct id file = new_file(2000000, 65536, "a", "");
	assert_int_equal(read_open(&r, file, TENANT), 0);
	assert_int_equal(read_next(&r), 1);
	pg_test_sql("delete from blob_chunk");
	assert_int_equal(read_next(&r), -ERR_NOT_FOUND);
	blob_read_done(&r);
}

static void test_blob_reads_several_as_one(void **state)
{
	(void)state;
	struct blob_write w = { 0 };
	struct blob_read r = { 0 };
	struct id ids[] = { write_blob(&w, 700000, 65536), write_blob(&w, 0, 1), write_blob(&w, 5, 1) };
	const int64_t sizes[] = { 700000, 0, 5 };
	struct buf want;
	buf_init(&want, SIZE_MAX / 8);
	buf_add_str(&want, bytes_of(700000));
	buf_add_str(&want, bytes_of(5));
	r.op.on_done = on_done;
	blob_read_blobs(&r, &api, 7, ids, sizes, 3);
	assert_range(&r, 0, INT64_MAX, buf_str(&want));
	assert_range(&r, 699999, 3, str_sub(buf_str(&want), 699999, 3));
	blob_read_done(&r);
	buf_done(&want);
}

/* --- parts of requests --- */

static json_t *request_with(struct id first, struct id second, struct id image)
{
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX], c[ID_TEXT_MAX];
	struct err err = { 0 };
	struct buf text;
	buf_init(&text, 8192);
	buf_printf(&text,
	           "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"t\"},"
	           "{\"type\": \"file\", \"file\": {\"file_id\": \"%s\"}}, {\"type\": \"file\", \"file\": {\"file_data\": \"data:;base64,\", \"filename\": \"x\"}},"
	           "{\"type\": \"image_url\", \"image_url\": {\"file_id\": \"%s\", \"detail\": \"low\"}}]},"
	           "{\"role\": \"user\", \"content\": [{\"type\": \"file\", \"file\": {\"file_id\": \"%s\"}}]}]}",
	           id_text(first, "file-", a).p, id_text(image, "file-", b).p, id_text(second, "file-", c).p);
	json_t *v = json_parse(buf_str(&text), &err);
	assert_non_null(v);
	buf_done(&text);
	return v;
}

static int parts_run(struct file_parts *p, json_t *request, const char *base)
{
	int before = completions;
	p->op.on_done = on_done;
	file_parts_start(p, &api, TENANT, request, base, NULL);
	return wait_for(before);
}

static struct str path_str(json_t *request, size_t message, size_t part, const char *member, const char *key)
{
	json_t *content = json_get(json_array_get(json_get(request, "messages"), message), "content");
	return json_str(json_get(json_array_get(content, part), member), key);
}

static void assert_url(struct str url, const char *head, struct str content)
{
	struct buf b;
	struct str wanted = str_from(head);
	assert_true(str_has_prefix(url, wanted));
	buf_init(&b, SIZE_MAX / 8);
	assert_int_equal(crypto_base64_decode(&b, str_sub(url, wanted.n, url.n)), 0);
	assert_true(str_eq(buf_str(&b), content));
	buf_done(&b);
}

static void test_file_parts_become_data_urls(void **state)
{
	(void)state;
	struct file_parts p = { 0 };
	struct id pdf = new_file(600001, 65536, "a.PDF", ""), text = new_file(0, 1, "b", "text/plain; charset=utf-8"), png = new_file(5, 2, "c.png", "application/octet-stream");
	json_t *request = request_with(pdf, text, png);
	assert_true(file_parts_has(request));
	assert_int_equal(parts_run(&p, request, ""), 0);
	assert_int_equal(p.count, 3);
	assert_false(file_parts_has(request));
	assert_url(path_str(request, 1, 1, "file", "file_data"), "data:application/pdf;base64,", bytes_of(600001));
	assert_true(str_eq(path_str(request, 1, 1, "file", "filename"), STR("a.PDF")));
	assert_true(str_eq(path_str(request, 1, 2, "file", "filename"), STR("x")));
	assert_url(path_str(request, 1, 3, "image_url", "url"), "data:image/png;base64,", bytes_of(5));
	assert_true(str_eq(path_str(request, 1, 3, "image_url", "detail"), STR("low")));
	assert_url(path_str(request, 2, 0, "file", "file_data"), "data:text/plain;base64,", STR(""));
	assert_int_equal(parts_run(&p, request, ""), 0); /* nothing is left to do */
	assert_int_equal(p.count, 0);
	file_parts_done(&p);
	json_decref(request);
}

static void assert_refused(struct id first, struct id second, struct id image, enum err_code code, const char *pointer)
{
	struct file_parts p = { 0 };
	json_t *request = request_with(first, second, image);
	assert_int_equal(parts_run(&p, request, "/request"), -(int)code);
	assert_int_equal(p.err.code, code);
	assert_string_equal(p.err.param, pointer);
	file_parts_done(&p);
	json_decref(request);
}

static void test_file_parts_refusals_name_the_part(void **state)
{
	(void)state;
	struct id small = new_file(100, 100, "a.pdf", ""), large = new_file(1500000, 65536, "a.pdf", ""), png = new_file(5, 5, "a.png", "");
	assert_refused(small, id_make(1), png, ERR_NOT_FOUND, "/request/messages/2/content/0/file/file_id");
	assert_refused(small, small, small, ERR_INVALID, "/request/messages/1/content/3/image_url/file_id");
	assert_refused(large, large, png, ERR_TOO_LARGE, "/request/messages/2/content/0/file/file_id");
	struct file_parts p = { 0 };
	struct err err = { 0 };
	json_t *request = json_parse(STR("{\"messages\":[{\"content\":[{\"type\":\"file\",\"file\":{\"file_id\":7}}]}]}"), &err);
	assert_int_equal(parts_run(&p, request, ""), -ERR_WRONG_TYPE);
	json_decref(request);
	request = json_parse(STR("{\"messages\":[{\"content\":[{\"type\":\"file\",\"file\":{\"file_id\":\"file-x\"}}]}]}"), &err);
	assert_int_equal(parts_run(&p, request, ""), -ERR_NOT_FOUND);
	json_decref(request);
	request = json_parse(STR("{\"messages\":[{\"content\":[{\"type\":\"file\",\"file\":7},5]},{\"content\":\"x\"},8],\"x\":1}"), &err);
	assert_int_equal(parts_run(&p, request, ""), 0);
	json_decref(request);
	file_parts_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blob_comes_back_as_it_was_written),
		cmocka_unit_test(test_blob_of_another_tenant_is_not_there),
		cmocka_unit_test(test_blob_that_was_dropped_becomes_no_file),
		cmocka_unit_test(test_blob_deleted_under_a_reader_ends_it),
		cmocka_unit_test(test_blob_reads_several_as_one),
		cmocka_unit_test(test_file_parts_become_data_urls),
		cmocka_unit_test(test_file_parts_refusals_name_the_part),
	};
	return cmocka_run_group_tests(tests, opened, closed);
}
