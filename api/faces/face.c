/* SPDX-License-Identifier: Apache-2.0 */
/* The table of faces, and what they share: how a request that was read becomes the body that is stored. */
#include "api/faces/chat.h"

#define STORED_MAX ((size_t)1 << 30)

/* By enum face_form. */
static const struct face *const faces[FORM_COUNT] = {
	[FORM_CHAT] = &face_chat,
	[FORM_RESPONSE] = &face_response,
	[FORM_EMBEDDINGS] = &face_embeddings,
	[FORM_COMPLETION] = &face_completion,
	[FORM_MESSAGE] = &face_message,
};

const struct face *face_of(enum face_form form)
{
	return (unsigned)form < FORM_COUNT ? faces[form] : NULL;
}

void face_request_done(struct face_request *r)
{
	json_decref(r->request);
	json_decref(r->echo);
	json_decref(r->origin);
	r->request = r->echo = r->origin = NULL;
}

#define MESSAGES "/messages/"
#define CONTENT  "/content/"

/* A number between slashes at the front of *rest, which it is taken off. -1: there is none. */
static int64_t take_index(struct str *rest)
{
	ssize_t slash = str_find_char(*rest, '/');
	size_t n = slash < 0 ? rest->n : (size_t)slash;
	uint64_t index;
	if (str_u64(str_sub(*rest, 0, n), 0, UINT32_MAX, &index) < 0)
		return -1;
	*rest = str_sub(*rest, n, rest->n);
	return (int64_t)index;
}

/* /messages/3/content/1/… by what the messages came from. */
static const char *from_origin(const json_t *origin, struct arena *a, const char *native)
{
	struct str rest = str_from(native);
	if (!str_has_prefix(rest, STR(MESSAGES)))
		return native;
	rest = str_sub(rest, sizeof(MESSAGES) - 1, rest.n);
	int64_t index = take_index(&rest);
	const json_t *places = index < 0 ? NULL : json_array_get(origin, (size_t)index);
	const char *at = json_string_value(json_array_get(places, 0));
	if (!at)
		return native;
	struct str in = rest;
	if (str_has_prefix(in, STR(CONTENT))) {
		in = str_sub(in, sizeof(CONTENT) - 1, in.n);
		index = take_index(&in);
		const char *part = index < 0 ? NULL : json_string_value(json_array_get(places, (size_t)index + 1));
		if (part)
			return arena_printf(a, "%s" STR_FMT, part, STR_ARG(in)).p;
	}
	return arena_printf(a, "%s" STR_FMT, at, STR_ARG(rest)).p;
}

const char *face_pointer(const struct face *face, const struct face_request *r, struct arena *a, const char *native)
{
	const char *said = r->origin ? from_origin(r->origin, a, native) : native;
	if (face == &face_chat && r->origin)
		said = chat_functions_pointer(r, a, said);
	return face->pointer ? face->pointer(a, said) : said;
}

int face_store(const struct face_request *r, struct arena *a, struct str *ret, struct err *err)
{
	struct buf b;
	const char *name;
	json_t *value;
	buf_init(&b, STORED_MAX);
	buf_add_z(&b, "{\"route\":");
	buf_add_json_str(&b, r->model);
	buf_add_z(&b, ",\"request\":");
	json_write(&b, r->request);
	if (r->echo) {
		buf_add_z(&b, ",\"echo\":");
		json_write(&b, r->echo);
	}
	json_object_foreach(r->millrace, name, value)
	{
		buf_add_char(&b, ',');
		buf_add_json_str(&b, str_from(name));
		buf_add_char(&b, ':');
		json_write(&b, value);
	}
	buf_add_char(&b, '}');
	bool failed = buf_failed(&b);
	if (!failed)
		*ret = arena_str(a, buf_str(&b));
	buf_done(&b);
	return failed ? err_set(err, ERR_TOO_LARGE, "the request does not fit into 1 GiB") : 0;
}
