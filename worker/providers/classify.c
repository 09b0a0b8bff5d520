/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of codes, statuses and phrases, in that order of authority. Phrases are matched without case, outside quotation marks; the order of the classes in
 * each table is the order in which they are tried.
 */
#include "worker/providers/classify.h"

struct phrase {
	struct str text;
	enum err_code class;
};

#define OWN_WORDS_MAX 400

/* error.code and error.type: the whole word. */
static const struct phrase codes[] = {
	{ STR("insufficient_quota"), ERR_BILLING },
	{ STR("billing_not_active"), ERR_BILLING },
	{ STR("billing_hard_limit_reached"), ERR_BILLING },
	{ STR("billing_error"), ERR_BILLING },
	{ STR("enforced_spend_limit_reached"), ERR_BILLING },
	{ STR("context_length_exceeded"), ERR_CONTEXT_WINDOW },
	{ STR("exceed_context_size_error"), ERR_CONTEXT_WINDOW },
	{ STR("content_policy_violation"), ERR_CONTENT_FILTER },
	{ STR("content_filter"), ERR_CONTENT_FILTER },
	{ STR("responsibleaipolicyviolation"), ERR_CONTENT_FILTER },
	{ STR("invalid_api_key"), ERR_PROVIDER_AUTH },
	{ STR("authentication_error"), ERR_PROVIDER_AUTH },
	{ STR("permission_error"), ERR_PROVIDER_PERMISSION },
	{ STR("model_not_found"), ERR_PROVIDER_NOT_FOUND },
	{ STR("deploymentnotfound"), ERR_PROVIDER_NOT_FOUND },
	{ STR("overloaded_error"), ERR_PROVIDER_OVERLOADED },
	{ STR("overloaded"), ERR_PROVIDER_OVERLOADED },
	{ STR("engine_overloaded"), ERR_PROVIDER_OVERLOADED },
	{ STR("rate_limit_exceeded"), ERR_PROVIDER_RATE_LIMIT },
	{ STR("rate_limit_error"), ERR_PROVIDER_RATE_LIMIT },
	{ STR("resource_exhausted"), ERR_PROVIDER_RATE_LIMIT },
	{ STR("throttlingexception"), ERR_PROVIDER_RATE_LIMIT },
	{ STR("not_found_error"), ERR_PROVIDER_NOT_FOUND },
	{ STR("request_too_large"), ERR_PROVIDER_TOO_LARGE },
	{ STR("api_error"), ERR_TRANSIENT },
	{ STR("timeout_error"), ERR_TRANSIENT },
	{ STR("internal_server_error"), ERR_TRANSIENT },
	{ STR("server_error"), ERR_TRANSIENT },
	{ STR("unavailable_error"), ERR_TRANSIENT },
	{ STR("insufficient_system_resource"), ERR_TRANSIENT },
	{ STR("string_above_max_length"), ERR_BAD_REQUEST },
};

static const struct phrase context_phrases[] = {
	{ STR("exceed context limit"), ERR_CONTEXT_WINDOW },
	{ STR("this model's maximum context length is"), ERR_CONTEXT_WINDOW },
	{ STR("string too long. expected a string with maximum length"), ERR_CONTEXT_WINDOW },
	{ STR("model's maximum context limit"), ERR_CONTEXT_WINDOW },
	{ STR("is longer than the model's context length"), ERR_CONTEXT_WINDOW },
	{ STR("input tokens exceed the configured limit"), ERR_CONTEXT_WINDOW },
	{ STR("`inputs` tokens + `max_new_tokens` must be"), ERR_CONTEXT_WINDOW },
	{ STR("exceeds the available context size"), ERR_CONTEXT_WINDOW },
	{ STR("exceeds the maximum number of tokens allowed"), ERR_CONTEXT_WINDOW },
	{ STR("prompt is too long"), ERR_CONTEXT_WINDOW },
	{ STR("input is too long"), ERR_CONTEXT_WINDOW },
	{ STR("too many input tokens"), ERR_CONTEXT_WINDOW },
	{ STR("too many tokens"), ERR_CONTEXT_WINDOW },
	{ STR("expected maxlength"), ERR_CONTEXT_WINDOW },
	{ STR("the input length exceeds the context length"), ERR_CONTEXT_WINDOW },
	{ STR("content management policy"), ERR_CONTENT_FILTER },
	{ STR("rejected by the safety system"), ERR_CONTENT_FILTER },
	{ STR("content filtering policy"), ERR_CONTENT_FILTER },
	{ STR("violating our usage policy"), ERR_CONTENT_FILTER },
	{ STR("api key not valid"), ERR_PROVIDER_AUTH },
	{ STR("invalid api key"), ERR_PROVIDER_AUTH },
	{ STR("spend limit"), ERR_BILLING },
	{ STR("credit balance is too low"), ERR_BILLING }, /* Anthropic */
};

static const struct phrase trouble_phrases[] = {
	{ STR("model is overloaded"), ERR_PROVIDER_OVERLOADED },
	{ STR("overloaded_error"), ERR_PROVIDER_OVERLOADED },
	{ STR("rate limit"), ERR_PROVIDER_RATE_LIMIT },
	{ STR("rate_limit"), ERR_PROVIDER_RATE_LIMIT },
	{ STR("quota exceeded"), ERR_PROVIDER_RATE_LIMIT },
	{ STR("resource exhausted"), ERR_PROVIDER_RATE_LIMIT },
	{ STR("service tier capacity exceeded"), ERR_PROVIDER_RATE_LIMIT },
};

static bool is_word_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/*
 * The front of a message without what it quotes: a server that refuses a request often shows the value it did not like, and that is
 * the user's text. An apostrophe inside a word is no quote; a quote that is not closed takes the rest.
 */
static struct str own_words(struct str message, char out[OWN_WORDS_MAX])
{
	size_t n = 0;
	char quote = '\0';
	for (size_t i = 0; i < message.n && n < OWN_WORDS_MAX; i++) {
		char c = message.p[i];
		bool in_word = i > 0 && is_word_char(message.p[i - 1]) && i + 1 < message.n && is_word_char(message.p[i + 1]);
		if ((c == '"' || c == '\'') && !in_word && (!quote || quote == c))
			quote = quote ? '\0' : c;
		else if (!quote)
			out[n++] = c;
	}
	return (struct str){ out, n };
}

static enum err_code by_word(struct str word)
{
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (str_eq_nocase(word, codes[i].text))
			return codes[i].class;
	return ERR_OK;
}

static enum err_code by_phrase(struct str message, const struct phrase *table, size_t n)
{
	char own[OWN_WORDS_MAX];
	struct str text = own_words(message, own);
	for (size_t i = 0; i < n; i++)
		if (str_find_nocase(text, table[i].text) >= 0)
			return table[i].class;
	return ERR_OK;
}

/* A server may say that it cannot find the model with a bare 404, a proxy that it cannot find the path: the target is wrong either way. */
static enum err_code by_status(int status)
{
	switch (status) {
	case 401:
		return ERR_PROVIDER_AUTH;
	case 402:
		return ERR_BILLING;
	case 403:
		return ERR_PROVIDER_PERMISSION;
	case 404:
		return ERR_PROVIDER_NOT_FOUND;
	case 408:
	case 409:
	case 425:
		return ERR_TRANSIENT;
	case 413:
		return ERR_PROVIDER_TOO_LARGE;
	case 429:
		return ERR_PROVIDER_RATE_LIMIT;
	case 529:
		return ERR_PROVIDER_OVERLOADED;
	default:
		break;
	}
	if (status >= 500)
		return ERR_TRANSIENT;
	return status >= 300 ? ERR_BAD_REQUEST : ERR_OK;
}

static bool says_too_large_for_limit(const struct failure *f)
{
	return str_find_nocase(f->message, STR("request too large")) >= 0 && str_find_nocase(f->message, STR("per min")) >= 0;
}

static enum err_code classify_429(const struct failure *f, enum err_code word)
{
	if (word == ERR_BILLING || word == ERR_PROVIDER_OVERLOADED)
		return word;
	return says_too_large_for_limit(f) ? ERR_LIMIT_TOO_SMALL : ERR_PROVIDER_RATE_LIMIT;
}

/* Inside an answer that had begun: nothing but the text is left. */
static enum err_code classify_by_text(const struct failure *f)
{
	enum err_code text = by_phrase(f->message, trouble_phrases, ARRAY_LEN(trouble_phrases));
	if (text == ERR_OK)
		text = by_phrase(f->message, context_phrases, ARRAY_LEN(context_phrases));
	if (text == ERR_OK && str_eq_nocase(f->type, STR("invalid_request_error")))
		return ERR_BAD_REQUEST;
	return text != ERR_OK ? text : ERR_TRANSIENT;
}

enum err_code classify(const struct failure *f)
{
	enum err_code word = by_word(f->code);
	if (word == ERR_OK)
		word = by_word(f->type);
	if (f->status == 429)
		return classify_429(f, word);
	/* "server_error" says less than a status of its own does. */
	if (f->status == 529 && word == ERR_TRANSIENT)
		return ERR_PROVIDER_OVERLOADED;
	if (word != ERR_OK)
		return word;
	/* Servers that put the status into error.code, also in the middle of a stream: an envelope of 5xx around a 429 is a 429. */
	uint64_t number;
	if (str_u64(f->code, 400, 599, &number) == 0 && (f->status < 400 || f->status >= 500)) {
		struct failure inner = *f;
		inner.code = (struct str){ NULL, 0 };
		inner.status = (int)number;
		return classify(&inner);
	}
	if (f->status == 400 || f->status == 413 || f->status == 422) {
		enum err_code text = by_phrase(f->message, context_phrases, ARRAY_LEN(context_phrases));
		bool about_user = str_eq_z(f->param, "user");
		return text != ERR_OK && !about_user ? text : by_status(f->status);
	}
	if (f->status >= 300)
		return f->status == 503 && by_phrase(f->message, trouble_phrases, 2) != ERR_OK ? ERR_PROVIDER_OVERLOADED : by_status(f->status);
	return classify_by_text(f);
}

static struct str text_of(const json_t *v, struct arena *a)
{
	if (json_is_integer(v))
		return arena_printf(a, "%lld", (long long)json_integer_value(v));
	return json_str_of(v);
}

void failure_read(struct failure *f, const json_t *body, struct arena *a)
{
	if (json_is_array(body) && json_array_size(body) > 0)
		body = json_array_get(body, 0);
	const json_t *e = json_get(body, "error");
	if (json_is_string(e)) {
		f->message = json_str_of(e);
		return;
	}
	if (!json_is_object(e))
		e = body; /* {"object":"error","message":…} and {"message":…} */
	f->message = json_str(e, "message");
	f->code = text_of(json_get(e, "code"), a);
	f->type = json_str(e, "type");
	f->param = json_str(e, "param");
	struct str inner = json_str(json_get(e, "innererror"), "code");
	if (f->code.n == 0)
		f->code = inner;
	if (f->type.n == 0)
		f->type = json_str(e, "status");
}
