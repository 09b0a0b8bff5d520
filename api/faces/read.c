/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a face's request to a native job. The face has made a native request of its body; here it is judged by the rules for native jobs, with the fields of
 * `millrace` beside it, and every complaint is turned back into the client's own words: /request/messages/0/role is messages[0].role there, /route is the
 * model, and /priority is millrace.priority.
 */
#include "api/faces/face.h"

static int wanted(struct err *err, const char *pointer, const char *what)
{
	return err_set_at(err, ERR_WRONG_TYPE, pointer, "wanted %s", what);
}

static int read_text(const json_t *body, const char *name, struct str *ret, struct err *err)
{
	const json_t *v = json_get(body, name);
	*ret = json_is_string(v) ? json_str_of(v) : (struct str){ 0 };
	if (!v || json_is_null(v) || json_is_string(v))
		return 0;
	char pointer[64];
	struct buf b;
	buf_init(&b, sizeof(pointer) - 1);
	buf_printf(&b, "/%s", name);
	int rc = err_set_at(err, ERR_WRONG_TYPE, b.p, "wanted a string");
	buf_done(&b);
	return rc;
}

/* What the client may not say there, because its place is the body itself, or because nobody but Millrace says it. */
static int check_extension(const json_t *millrace, struct err *err)
{
	static const struct {
		const char *name, *pointer;
	} no[] = {
		{ "route", "/millrace/route" }, { "request", "/millrace/request" },   { "kind", "/millrace/kind" },
		{ "echo", "/millrace/echo" },   { "metadata", "/millrace/metadata" }, { "user", "/millrace/user" },
	};
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		if (json_get(millrace, no[i].name))
			return err_set_at(err, ERR_UNKNOWN_FIELD, no[i].pointer, "the body itself says that, not millrace");
	return 0;
}

int face_read_common(const json_t *body, struct face_request *ret, struct err *err)
{
	if (!json_is_object(body))
		return wanted(err, "", "an object");
	if (read_text(body, "model", &ret->model, err) < 0 || read_text(body, "user", &ret->user, err) < 0)
		return -(int)err->code;
	if (ret->model.n == 0)
		return err_set_at(err, ERR_MISSING_FIELD, "/model", "name a route or a model");
	if (ret->user.n == 0)
		ret->user = (struct str){ 0 };
	const json_t *stream = json_get(body, "stream");
	if (stream && !json_is_boolean(stream) && !json_is_null(stream))
		return wanted(err, "/stream", "true or false");
	ret->stream = json_is_true(stream);
	json_t *metadata = json_get(body, "metadata"), *millrace = json_get(body, "millrace");
	if (metadata && !json_is_object(metadata) && !json_is_null(metadata))
		return wanted(err, "/metadata", "an object");
	if (millrace && !json_is_object(millrace) && !json_is_null(millrace))
		return wanted(err, "/millrace", "an object");
	ret->metadata = json_is_object(metadata) ? metadata : NULL;
	ret->millrace = json_is_object(millrace) ? millrace : NULL;
	return check_extension(ret->millrace, err);
}

int face_read_stream_options(const json_t *body, struct face_request *ret, struct err *err)
{
	const json_t *options = json_get(body, "stream_options"), *usage = json_get(options, "include_usage");
	if (!options || json_is_null(options))
		return 0;
	if (!json_is_object(options))
		return wanted(err, "/stream_options", "an object");
	if (!ret->stream)
		return err_set_at(err, ERR_INVALID, "/stream_options", "stream_options belong to a request with stream");
	if (usage && !json_is_boolean(usage) && !json_is_null(usage))
		return wanted(err, "/stream_options/include_usage", "true or false");
	ret->include_usage = json_is_true(usage);
	return 0;
}

int face_refuse(const json_t *body, const char *name, const char *why, struct err *err)
{
	const json_t *v = json_get(body, name);
	if (!v || json_is_null(v))
		return 0;
	struct buf b;
	buf_init(&b, ERR_PARAM_MAX - 1);
	buf_printf(&b, "/%s", name);
	int rc = err_set_at(err, ERR_UNSUPPORTED, buf_failed(&b) ? "" : b.p, "%s", why);
	buf_done(&b);
	return rc;
}

/* A complaint about the native job, in the client's words. */
static int say_to_client(const struct face *face, const struct face_request *r, struct arena *a, struct err *err)
{
	static const char request[] = "/request", route[] = "/route";
	struct str at = arena_str(a, str_from(err->param));
	const char *said = at.p;
	if (str_has_prefix(at, str_from(request))) {
		said = face_pointer(face, r, a, at.p + sizeof(request) - 1);
	} else if (str_eq(at, str_from(route))) {
		said = "/model";
	} else if (at.n) {
		said = arena_printf(a, "/millrace" STR_FMT, STR_ARG(at)).p;
	}
	struct str text = arena_str(a, str_from(err->text));
	return err_set_at(err, err->code, said, STR_FMT, STR_ARG(text));
}

/* Levels of arrays and objects. */
static int depth_of(const json_t *v)
{
	int most = 0, one;
	size_t i;
	const char *name;
	json_t *in;
	json_array_foreach(v, i, in)
		if ((one = depth_of(in)) > most)
			most = one;
	json_object_foreach((json_t *)(uintptr_t)v, name, in)
		if ((one = depth_of(in)) > most)
			most = one;
	return json_is_array(v) || json_is_object(v) ? most + 1 : 0;
}

int face_submission(const struct face *face, const struct face_request *r, struct arena *a, const struct submission_rules *rules, struct submission *ret,
                    struct err *err)
{
	_cleanup_(json_drop) json_t *native = json_object();
	const char *name;
	json_t *value;
	if (depth_of(r->request) >= JSON_DEPTH_MAX || depth_of(r->echo) >= JSON_DEPTH_MAX)
		return err_set(err, ERR_BAD_JSON, "the request is nested too deeply to be stored");
	json_object_set(native, "request", r->request);
	json_set_str(native, "route", r->model);
	if (face->kind == SUBMISSION_EMBEDDINGS)
		json_set_str(native, "kind", STR("embeddings"));
	json_object_foreach(r->millrace, name, value)
		json_object_set(native, name, value);
	*ret = (struct submission){ .body = { "", 0 } };
	int rc = submission_read_value(a, rules, native, "", ret, err);
	if (rc < 0)
		return say_to_client(face, r, a, err);
	ret->form = (int)face->form;
	ret->followed = r->stream;
	ret->unstored = r->unstored;
	return face_store(r, a, &ret->body, err);
}
