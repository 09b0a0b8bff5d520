/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What failures mean, for all providers, in tables: words (error.code, error.type, error.status, an exception's name), statuses, phrases. In that order:
 *
 *   1. a word that says exactly what is wrong decides;
 *   2. then the status; a status that stands in error.code of a body within a 5xx or within a stream counts as the status;
 *   3. only where the status leaves it open (400, 413, 422; 403; 5xx for a few; none at all within a stream) the text does, and last
 *      the words that say little (server_error, invalid_request_error).
 *
 * What can go wrong: a server echoes the prompt in its message, and the prompt may hold any of the phrases. So phrases are looked for in the front of the
 * message only and outside of quotation marks, those of rate limits never where the status says 400, and a bare 429 only where there is no status.
 * Phrases are matched without case, the first in a table that matches counts. When to come back is for hints.c, what follows from a class for the judge.
 */
#include "worker/providers/classify.h"

#include <string.h>

struct phrase {
	struct str text, then; /* the second somewhere behind the first; empty: nothing more */
	enum err_code class;
};

#define WORD(word, class)       { STR(word), STR(""), class }
#define PHRASE(text, class)     { STR(text), STR(""), class }
#define PAIR(text, then, class) { STR(text), STR(then), class }

#define OWN_WORDS_MAX 400

/* Words that leave nothing open. */
static const struct phrase exact_words[] = {
	/* OpenAI and those who speak as it does */
	WORD("insufficient_quota", ERR_BILLING),
	WORD("billing_not_active", ERR_BILLING),
	WORD("billing_hard_limit_reached", ERR_BILLING),
	WORD("context_length_exceeded", ERR_CONTEXT_WINDOW),
	WORD("content_policy_violation", ERR_CONTENT_FILTER),
	WORD("image_content_policy_violation", ERR_CONTENT_FILTER),
	WORD("content_filter", ERR_CONTENT_FILTER),
	WORD("invalid_api_key", ERR_PROVIDER_AUTH),
	WORD("model_not_found", ERR_PROVIDER_NOT_FOUND),
	WORD("engine_overloaded", ERR_PROVIDER_OVERLOADED),
	WORD("engine_overloaded_error", ERR_PROVIDER_OVERLOADED),
	WORD("slow_down", ERR_PROVIDER_OVERLOADED),
	WORD("rate_limit_exceeded", ERR_PROVIDER_RATE_LIMIT),
	WORD("string_above_max_length", ERR_BAD_REQUEST),
	/* Azure */
	WORD("responsibleaipolicyviolation", ERR_CONTENT_FILTER),
	WORD("deploymentnotfound", ERR_PROVIDER_NOT_FOUND),
	WORD("quotaexceeded", ERR_QUOTA),
	/* Anthropic */
	WORD("billing_error", ERR_BILLING),
	WORD("enforced_spend_limit_reached", ERR_BILLING),
	WORD("authentication_error", ERR_PROVIDER_AUTH), /* llama.cpp, too */
	WORD("permission_error", ERR_PROVIDER_PERMISSION),
	WORD("not_found_error", ERR_PROVIDER_NOT_FOUND), /* llama.cpp, too */
	WORD("rate_limit_error", ERR_PROVIDER_RATE_LIMIT),
	WORD("overloaded_error", ERR_PROVIDER_OVERLOADED),
	/* Google: statuses, and reasons of google.rpc.ErrorInfo */
	WORD("api_key_invalid", ERR_PROVIDER_AUTH),
	WORD("billing_disabled", ERR_BILLING),
	WORD("unauthenticated", ERR_PROVIDER_AUTH),
	WORD("permission_denied", ERR_PROVIDER_PERMISSION),
	WORD("not_found", ERR_PROVIDER_NOT_FOUND),
	WORD("resource_exhausted", ERR_PROVIDER_RATE_LIMIT),
	/* Bedrock and AWS's common errors */
	WORD("throttlingexception", ERR_PROVIDER_RATE_LIMIT),
	WORD("toomanyrequestsexception", ERR_PROVIDER_RATE_LIMIT),
	WORD("modelnotreadyexception", ERR_PROVIDER_RATE_LIMIT),
	WORD("servicequotaexceededexception", ERR_QUOTA),
	WORD("accessdeniedexception", ERR_PROVIDER_PERMISSION),
	WORD("resourcenotfoundexception", ERR_PROVIDER_NOT_FOUND),
	WORD("unrecognizedclientexception", ERR_PROVIDER_AUTH),
	WORD("invalidsignatureexception", ERR_PROVIDER_AUTH),
	WORD("incompletesignatureexception", ERR_PROVIDER_AUTH),
	WORD("expiredtokenexception", ERR_PROVIDER_AUTH),
	WORD("invalidclienttokenid", ERR_PROVIDER_AUTH),
	WORD("missingauthenticationtokenexception", ERR_PROVIDER_AUTH),
	/* llama.cpp, TGI */
	WORD("exceed_context_size_error", ERR_CONTEXT_WINDOW),
	WORD("overloaded", ERR_PROVIDER_OVERLOADED),
};

/* Words that a text may overrule; those of bad requests count only where there is no status. */
static const struct phrase vague_words[] = {
	WORD("request_too_large", ERR_PROVIDER_TOO_LARGE),
	WORD("requestentitytoolargeexception", ERR_PROVIDER_TOO_LARGE),
	WORD("api_error", ERR_TRANSIENT),
	WORD("server_error", ERR_TRANSIENT),
	WORD("internal_server_error", ERR_TRANSIENT),
	WORD("unavailable_error", ERR_TRANSIENT),
	WORD("timeout_error", ERR_TRANSIENT),
	WORD("conflict_error", ERR_TRANSIENT),
	WORD("insufficient_system_resource", ERR_TRANSIENT),
	WORD("internal", ERR_TRANSIENT),
	WORD("unavailable", ERR_TRANSIENT),
	WORD("deadline_exceeded", ERR_TRANSIENT),
	WORD("cancelled", ERR_TRANSIENT),
	WORD("aborted", ERR_TRANSIENT),
	WORD("modeltimeoutexception", ERR_TRANSIENT),
	WORD("modelerrorexception", ERR_TRANSIENT),
	WORD("modelstreamerrorexception", ERR_TRANSIENT),
	WORD("internalserverexception", ERR_TRANSIENT),
	WORD("internalfailure", ERR_TRANSIENT),
	WORD("serviceunavailableexception", ERR_TRANSIENT),
	WORD("generation", ERR_TRANSIENT),            /* TGI */
	WORD("incomplete_generation", ERR_TRANSIENT), /* TGI */
	WORD("invalid_request_error", ERR_BAD_REQUEST),
	WORD("badrequesterror", ERR_BAD_REQUEST),
	WORD("invalid_argument", ERR_BAD_REQUEST),
	WORD("failed_precondition", ERR_BAD_REQUEST),
	WORD("validationexception", ERR_BAD_REQUEST),
	WORD("validation", ERR_BAD_REQUEST), /* TGI */
};

/* Why a request was refused. */
static const struct phrase refusals[] = {
	PHRASE("exceed context limit", ERR_CONTEXT_WINDOW),
	PHRASE("this model's maximum context length is", ERR_CONTEXT_WINDOW),
	PHRASE("string too long. expected a string with maximum length", ERR_CONTEXT_WINDOW),
	PHRASE("model's maximum context limit", ERR_CONTEXT_WINDOW),
	PHRASE("exceeds the model's maximum context length", ERR_CONTEXT_WINDOW), /* SGLang */
	PHRASE("is longer than the model's context length", ERR_CONTEXT_WINDOW),
	PHRASE("is longer than the maximum model length of", ERR_CONTEXT_WINDOW), /* vLLM */
	PHRASE("the model's context length is only", ERR_CONTEXT_WINDOW),         /* vLLM */
	PHRASE("exceeds the context window", ERR_CONTEXT_WINDOW),                 /* OpenAI */
	PHRASE("maximum prompt length is", ERR_CONTEXT_WINDOW),                   /* xAI */
	PAIR("too large for model with", "maximum context length", ERR_CONTEXT_WINDOW), /* Mistral */
	PHRASE("input tokens exceed the configured limit", ERR_CONTEXT_WINDOW),
	PHRASE("`inputs` tokens + `max_new_tokens` must be", ERR_CONTEXT_WINDOW), /* TGI */
	PHRASE("exceeds the available context size", ERR_CONTEXT_WINDOW),         /* llama.cpp */
	PHRASE("exceeds the maximum number of tokens allowed", ERR_CONTEXT_WINDOW), /* Gemini */
	PHRASE("request payload size exceeds", ERR_CONTEXT_WINDOW),               /* Gemini */
	PAIR("current length is", "while limit is", ERR_CONTEXT_WINDOW),          /* Cerebras */
	PAIR("maximum input length is", "tokens", ERR_CONTEXT_WINDOW),
	PAIR("prompt tokens (", ") exceed model maximum (", ERR_CONTEXT_WINDOW),  /* Bedrock, in OpenAI's form */
	PHRASE("prompt is too long", ERR_CONTEXT_WINDOW),                         /* Anthropic */
	PHRASE("prompt: length", ERR_CONTEXT_WINDOW),                             /* Anthropic */
	PHRASE("input is too long", ERR_CONTEXT_WINDOW),                          /* Bedrock */
	PHRASE("too many input tokens", ERR_CONTEXT_WINDOW),                      /* Bedrock */
	PHRASE("too many tokens", ERR_CONTEXT_WINDOW),                            /* Bedrock */
	PHRASE("expected maxlength:", ERR_CONTEXT_WINDOW),                        /* Bedrock */
	PHRASE("the input length exceeds the context length", ERR_CONTEXT_WINDOW), /* Ollama */
	PHRASE("content_policy_violation", ERR_CONTENT_FILTER),
	PHRASE("responsibleaipolicyviolation", ERR_CONTENT_FILTER),
	PHRASE("content management policy", ERR_CONTENT_FILTER),
	PHRASE("safety system", ERR_CONTENT_FILTER),
	PHRASE("content_filter_policy", ERR_CONTENT_FILTER),
	PHRASE("the model produced invalid content", ERR_CONTENT_FILTER),
	PAIR("invalid prompt", "violating our usage policy", ERR_CONTENT_FILTER), /* OpenAI */
	PHRASE("content filtering policy", ERR_CONTENT_FILTER),                   /* Anthropic, Vertex */
	PHRASE("the response was blocked.", ERR_CONTENT_FILTER),                  /* Vertex */
	PHRASE("api key not valid", ERR_PROVIDER_AUTH),                           /* Gemini, with 400 */
	PHRASE("invalid api key", ERR_PROVIDER_AUTH),
	PHRASE("incorrect api key provided", ERR_PROVIDER_AUTH), /* xAI, with 400 */
	PHRASE("unable to locate credentials", ERR_PROVIDER_AUTH),
	PHRASE("security token included in the request is invalid", ERR_PROVIDER_AUTH),
	PHRASE("enforced_spend_limit_reached", ERR_BILLING),
	PHRASE("spend limit", ERR_BILLING),
	PHRASE("you have reached your specified api usage limits", ERR_BILLING), /* Anthropic: a spend limit that its owner set */
	PHRASE("credit balance is too low", ERR_BILLING),                        /* Anthropic */
	PHRASE("the provided model identifier is invalid", ERR_PROVIDER_NOT_FOUND), /* Bedrock */
	PHRASE("with on-demand throughput", ERR_PROVIDER_NOT_FOUND),                /* Bedrock: the model's id is that of a profile */
	PHRASE("could not process image", ERR_BAD_REQUEST),                         /* Bedrock */
};

/* What a provider in trouble says. */
static const struct phrase troubles[] = {
	PHRASE("model is overloaded", ERR_PROVIDER_OVERLOADED),            /* Gemini, TGI */
	PHRASE("engine is currently overloaded", ERR_PROVIDER_OVERLOADED), /* OpenAI */
	PHRASE("overloaded_error", ERR_PROVIDER_OVERLOADED),
	PHRASE("service tier capacity exceeded", ERR_PROVIDER_RATE_LIMIT),
	PHRASE("quota exceeded", ERR_PROVIDER_RATE_LIMIT),
	PHRASE("resource exhausted", ERR_PROVIDER_RATE_LIMIT),
	PHRASE("throttlingexception", ERR_PROVIDER_RATE_LIMIT),
};

/* 5xx or 424 around what is the request's fault: asking again would not help. */
static const struct phrase permanent[] = {
	PHRASE("could not process image", ERR_BAD_REQUEST),                        /* Bedrock */
	PHRASE("the model produced invalid content", ERR_CONTENT_FILTER),          /* OpenAI */
	PHRASE("exceeds the available context size", ERR_CONTEXT_WINDOW),          /* llama.cpp */
	PHRASE("the input length exceeds the context length", ERR_CONTEXT_WINDOW), /* Ollama */
};

/* What a 403 is about when it is not about the model. */
static const struct phrase forbidden[] = {
	PHRASE("security token included in the request is", ERR_PROVIDER_AUTH), /* AWS: invalid, expired */
	PHRASE("make sure your api key is valid", ERR_PROVIDER_AUTH),           /* Bedrock */
	PHRASE("api key was reported as leaked", ERR_PROVIDER_AUTH),            /* Gemini */
	PHRASE("invalid_payment_instrument", ERR_BILLING),                      /* Bedrock */
	PHRASE("requires billing to be enabled", ERR_BILLING),                  /* Google */
	PHRASE("enforced_spend_limit_reached", ERR_BILLING),
};

/* A 429 that no waiting of minutes will end. */
static const struct phrase exhausted[] = {
	PHRASE("enforced_spend_limit_reached", ERR_BILLING),
	PHRASE("spend limit", ERR_BILLING),
	PHRASE("credit balance is too low", ERR_BILLING),
	PHRASE("request too large", ERR_LIMIT_TOO_SMALL),
	PHRASE("engine is currently overloaded", ERR_PROVIDER_OVERLOADED),
};

static const struct phrase of_a_day[] = {
	PHRASE("per day", ERR_QUOTA),
	PHRASE("daily", ERR_QUOTA),
};

/* Groq refuses with 413 what is larger than a limit of tokens per minute. */
static const struct phrase over_a_limit[] = {
	PAIR("request too large", "per min", ERR_LIMIT_TOO_SMALL),
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_word_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
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

static enum err_code by_word(struct str word, const struct phrase *table, size_t n)
{
	for (size_t i = 0; i < n && word.n; i++)
		if (str_eq_nocase(word, table[i].text))
			return table[i].class;
	return ERR_OK;
}

static enum err_code by_words(const struct failure *f, const struct phrase *table, size_t n)
{
	enum err_code class = by_word(f->code, table, n);
	if (class == ERR_OK)
		class = by_word(f->reason, table, n);
	return class != ERR_OK ? class : by_word(f->type, table, n);
}

static enum err_code by_phrase(struct str message, const struct phrase *table, size_t n)
{
	char own[OWN_WORDS_MAX];
	struct str text = own_words(message, own);
	for (size_t i = 0; i < n; i++) {
		ssize_t at = str_find_nocase(text, table[i].text);
		if (at >= 0 && str_find_nocase(str_sub(text, (size_t)at + table[i].text.n, text.n), table[i].then) >= 0)
			return table[i].class;
	}
	return ERR_OK;
}

#define BY_WORDS(f, table)   by_words((f), (table), ARRAY_LEN(table))
#define BY_PHRASE(f, table)  by_phrase((f)->message, (table), ARRAY_LEN(table))

/* rate limit, ratelimit, rate_limit, Rate-Limit */
static bool says_rate_limit(struct str text)
{
	ssize_t at;
	while ((at = str_find_nocase(text, STR("rate"))) >= 0) {
		text = str_sub(text, (size_t)at + 4, text.n);
		size_t i = 0;
		while (i < text.n && memchr(" \t\r\n_-", text.p[i], 6))
			i++;
		if (str_has_prefix_nocase(str_sub(text, i, text.n), STR("limit")))
			return true;
	}
	return false;
}

static bool says_429(struct str text)
{
	ssize_t at;
	while ((at = str_find(text, STR("429"))) >= 0) {
		bool apart = at == 0 || !is_word_char(text.p[at - 1]);
		text = str_sub(text, (size_t)at + 3, text.n);
		if (apart && (text.n == 0 || !is_word_char(text.p[0])))
			return true;
	}
	return false;
}

/* Something is wrong with the field `user`, not with what the model was asked. */
static bool is_about_user(const struct failure *f)
{
	return str_eq_z(f->param, "user") || str_has_prefix_nocase(f->message, STR("invalid 'user'")) ||
	       str_has_prefix_nocase(f->message, STR("invalid `user`"));
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
	case 424: /* Bedrock, TGI: the model failed */
	case 425:
	case 499: /* Google: it gave up */
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

static enum err_code classify_429(const struct failure *f, enum err_code word)
{
	if (word == ERR_BILLING || word == ERR_QUOTA || word == ERR_PROVIDER_OVERLOADED)
		return word;
	enum err_code text = BY_PHRASE(f, exhausted);
	return text != ERR_OK ? text : ERR_PROVIDER_RATE_LIMIT;
}

static enum err_code classify_4xx(const struct failure *f)
{
	enum err_code vague = BY_WORDS(f, vague_words), text = ERR_OK;
	if ((f->status == 400 || f->status == 413 || f->status == 422) && !is_about_user(f))
		text = BY_PHRASE(f, refusals);
	if (text != ERR_OK)
		return text;
	return vague != ERR_OK && vague != ERR_BAD_REQUEST ? vague : by_status(f->status);
}

static enum err_code classify_5xx(const struct failure *f)
{
	return BY_PHRASE(f, troubles) == ERR_PROVIDER_OVERLOADED ? ERR_PROVIDER_OVERLOADED : by_status(f->status);
}

/* Inside an answer that had begun: nothing but vague words and the text is left. */
static enum err_code classify_by_text(const struct failure *f)
{
	char own[OWN_WORDS_MAX];
	enum err_code vague = BY_WORDS(f, vague_words), text = ERR_OK;
	struct str words = own_words(f->message, own);
	if (vague != ERR_BAD_REQUEST) {
		text = BY_PHRASE(f, troubles);
		if (text == ERR_OK && (says_rate_limit(words) || says_429(words)))
			text = ERR_PROVIDER_RATE_LIMIT;
	}
	if (text == ERR_OK && !is_about_user(f))
		text = BY_PHRASE(f, refusals);
	if (text != ERR_OK)
		return text;
	return vague != ERR_OK ? vague : ERR_TRANSIENT;
}

static enum err_code decide(const struct failure *f)
{
	enum err_code word = BY_WORDS(f, exact_words);
	uint64_t number;
	if (f->status == 413 && BY_PHRASE(f, over_a_limit) != ERR_OK)
		return ERR_LIMIT_TOO_SMALL;
	if (f->status == 429)
		return classify_429(f, word);
	if (word != ERR_OK)
		return word;
	/* Servers that put the status into error.code, also in the middle of a stream: an envelope of 5xx around a 429 is a 429. */
	if (str_u64(f->code, 400, 599, &number) == 0 && (f->status < 400 || f->status >= 500)) {
		struct failure inner = *f;
		inner.code = (struct str){ NULL, 0 };
		inner.status = (int)number;
		return decide(&inner);
	}
	if (f->status >= 500)
		return classify_5xx(f);
	return f->status >= 300 ? classify_4xx(f) : classify_by_text(f);
}

enum err_code classify(const struct failure *f)
{
	enum err_code class = decide(f), text = ERR_OK;
	if (class == ERR_PROVIDER_RATE_LIMIT)
		text = f->of_a_day ? ERR_QUOTA : BY_PHRASE(f, of_a_day);
	else if (class == ERR_PROVIDER_PERMISSION)
		text = BY_PHRASE(f, forbidden);
	else if (class == ERR_TRANSIENT)
		text = BY_PHRASE(f, permanent);
	return text != ERR_OK ? text : class;
}

static struct str text_of(const json_t *v, struct arena *a)
{
	if (json_is_integer(v))
		return arena_printf(a, "%lld", (long long)json_integer_value(v));
	return json_str_of(v);
}

static struct str either(struct str first, struct str second)
{
	return first.n ? first : second;
}

/* Google's list of details: a reason, and the quotas that were violated. Anthropic's object: a code. */
static void read_details(struct failure *f, const json_t *details)
{
	const json_t *one, *violation;
	size_t i, k;
	f->reason = either(f->reason, json_str(details, "error_code"));
	json_array_foreach (details, i, one) {
		if (str_has_suffix(json_str(one, "@type"), STR("google.rpc.ErrorInfo")))
			f->reason = either(f->reason, json_str(one, "reason"));
		if (!str_has_suffix(json_str(one, "@type"), STR("google.rpc.QuotaFailure")))
			continue;
		json_array_foreach (json_get(one, "violations"), k, violation) {
			struct str id = json_str(violation, "quotaId");
			f->of_a_day = f->of_a_day || str_find(id, STR("PerDay")) >= 0 || str_find(id, STR("Daily")) >= 0;
		}
	}
}

void failure_read(struct failure *f, const json_t *body, struct arena *a)
{
	if (json_is_array(body) && json_array_size(body) > 0)
		body = json_array_get(body, 0);
	const json_t *e = json_get(body, "error");
	struct str plain = json_str_of(e);
	if (!json_is_object(e))
		e = body; /* {"object":"error","message":…}, {"message":…}, {"error":"text","error_type":…} */
	f->message = either(plain, either(json_str(e, "message"), json_str(e, "detail")));
	f->code = text_of(json_get(e, "code"), a);
	f->type = either(json_str(e, "type"), either(json_str(e, "status"), json_str(e, "error_type")));
	f->param = json_str(e, "param");
	f->reason = either(json_str(json_get(e, "innererror"), "code"), json_str(json_get(e, "inner_error"), "code"));
	read_details(f, json_get(e, "details"));
}
