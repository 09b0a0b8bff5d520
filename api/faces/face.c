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

const char *face_pointer(const struct face *face, const struct face_request *r, struct arena *a, const char *native)
{
	const char *said = r->origin ? chat_functions_pointer(r, a, native) : native;
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
