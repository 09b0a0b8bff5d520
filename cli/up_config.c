/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default configuration follows the environment: a server named by MILLRACE_BASE_URL; OpenAI, Anthropic or Gemini
 * where there is a key for it; else the simulator, so that `make run` works on a machine without keys and without a network. It is written
 * anew by each run, since the environment may have changed; a file that somebody edited is left alone (its hash is kept
 * beside it to tell). Secrets are never in the file: it refers to the environment, which the api and the worker
 * inherit.
 *
 * The simulator's address changes from run to run, so the file refers to MILLRACE_SIMULATOR_URL, which `up` sets, with
 * a name for the case that somebody reads the file without `up` (check-config). A file given with --config may refer to
 * it too and gets a simulator by that.
 */
#include "cli/up_config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/crypto.h"
#include "common/file.h"

#define CONFIG_MAX          (16 << 20)
#define SIMULATOR_WANTED    "${MILLRACE_SIMULATOR_URL"
#define SIMULATOR_REFERENCE SIMULATOR_WANTED ":-http://simulator.invalid}"
#define OPENAI_PRICE        "{\"input\": \"0.15\", \"cached_input\": \"0.075\", \"output\": \"0.60\"}"

static const char simulator_text[] =
    "{\n"
    "  \"targets\": {\n"
    "    \"sim\": {\n"
    "      \"provider\": \"openai\",\n"
    "      \"model\": \"sim-extract\",\n"
    "      \"base_url\": \"" SIMULATOR_REFERENCE "/v1\",\n"
    "      \"api_key\": \"sk-simulator\",\n"
    "      \"price\": " OPENAI_PRICE "\n"
    "    }\n"
    "  },\n"
    "  \"routes\": {\"default\": {\"targets\": [\"sim\"]}},\n"
    "  \"models\": {\"*\": {\"provider\": \"openai\", \"base_url\": \"" SIMULATOR_REFERENCE
    "/v1\", \"api_key\": \"sk-simulator\"}}\n"
    "}\n";

/* The providers that need nothing but a key: their addresses are known. */
struct hosted {
	const char *provider, *name, *variable, *model, *price;
};
static const struct hosted openai = { "openai", "OpenAI", "OPENAI_API_KEY", "gpt-4o-mini", OPENAI_PRICE };
static const struct hosted anthropic = {
	"anthropic", "Anthropic", "ANTHROPIC_API_KEY", "claude-haiku-4-5",
	"{\"input\": \"1\", \"cached_input\": \"0.10\", \"cache_write\": \"1.25\", \"output\": \"5\"}"
};
static const struct hosted gemini = { "gemini", "Gemini", "GEMINI_API_KEY", "gemini-2.5-flash",
	                              "{\"input\": \"0.30\", \"cached_input\": \"0.03\", \"output\": \"2.50\"}" };

static bool is_given(const char *z)
{
	return z && *z;
}

enum up_provider up_config_choose(const struct up_environment *e, bool force_simulator)
{
	if (force_simulator)
		return UP_PROVIDER_SIMULATOR;
	if (is_given(e->base_url))
		return UP_PROVIDER_SERVER;
	if (is_given(e->openai_key))
		return UP_PROVIDER_OPENAI;
	if (is_given(e->anthropic_key))
		return UP_PROVIDER_ANTHROPIC;
	return is_given(e->gemini_key) ? UP_PROVIDER_GEMINI : UP_PROVIDER_SIMULATOR;
}

static struct str hosted_text(struct arena *a, const struct hosted *h)
{
	return arena_printf(a,
	                    "{\n"
	                    "  \"targets\": {\n"
	                    "    \"%s/%s\": {\n"
	                    "      \"provider\": \"%s\",\n"
	                    "      \"model\": \"%s\",\n"
	                    "      \"api_key\": \"${%s}\",\n"
	                    "      \"price\": %s\n"
	                    "    }\n"
	                    "  },\n"
	                    "  \"routes\": {\"default\": {\"targets\": [\"%s/%s\"]}},\n"
	                    "  \"models\": {\"*\": {\"provider\": \"%s\", \"api_key\": \"${%s}\"}}\n"
	                    "}\n",
	                    h->provider, h->model, h->provider, h->model, h->variable, h->price, h->provider, h->model,
	                    h->provider, h->variable);
}

/* Model and key are there only when the environment has them: a reference to nothing is a mistake. */
static struct str server_text(struct arena *a, const struct up_environment *e)
{
	const char *model = is_given(e->model) ? "${MILLRACE_MODEL}" : "default";
	const char *key = is_given(e->upstream_key) ? ", \"api_key\": \"${MILLRACE_API_KEY_UPSTREAM}\"" : "";
	return arena_printf(
	    a,
	    "{\n"
	    "  \"targets\": {\n"
	    "    \"upstream\": {\"provider\": \"openai\", \"model\": \"%s\", \"base_url\": "
	    "\"${MILLRACE_BASE_URL}\"%s}\n"
	    "  },\n"
	    "  \"routes\": {\"default\": {\"targets\": [\"upstream\"]}},\n"
	    "  \"models\": {\"*\": {\"provider\": \"openai\", \"base_url\": \"${MILLRACE_BASE_URL}\"%s}}\n"
	    "}\n",
	    model, key, key);
}

/* The text of the default configuration, in a; secrets stay references to the environment. */
static struct str config_text(struct arena *a, enum up_provider provider, const struct up_environment *e)
{
	switch (provider) {
	case UP_PROVIDER_SIMULATOR:
		return str_from(simulator_text);
	case UP_PROVIDER_OPENAI:
		return hosted_text(a, &openai);
	case UP_PROVIDER_ANTHROPIC:
		return hosted_text(a, &anthropic);
	case UP_PROVIDER_GEMINI:
		return hosted_text(a, &gemini);
	case UP_PROVIDER_SERVER:
		return server_text(a, e);
	}
	assert(!"a provider without a text");
	return STR("");
}

/* Whether a configuration's text wants a simulator to be started. */
static bool wants_simulator(struct str text)
{
	return str_find(text, STR(SIMULATOR_WANTED)) >= 0;
}

static const char *hosted_name(struct arena *a, const struct hosted *h)
{
	return arena_printf(a, "%s (%s), %s", h->name, h->variable, h->model).p;
}

static const char *provider_name(struct arena *a, enum up_provider provider, const struct up_environment *e)
{
	switch (provider) {
	case UP_PROVIDER_SIMULATOR:
		return "the simulator (no key is set)";
	case UP_PROVIDER_OPENAI:
		return hosted_name(a, &openai);
	case UP_PROVIDER_ANTHROPIC:
		return hosted_name(a, &anthropic);
	case UP_PROVIDER_GEMINI:
		return hosted_name(a, &gemini);
	case UP_PROVIDER_SERVER:
		return arena_printf(a, "%s", e->base_url).p;
	}
	return "";
}

static struct str hash_of(struct arena *a, struct str text)
{
	uint8_t hash[SHA256_LEN];
	struct buf b;
	buf_init(&b, 128);
	crypto_sha256(text, hash);
	crypto_hex(&b, (struct str){ (const char *)hash, sizeof(hash) });
	struct str s = arena_str(a, buf_str(&b));
	buf_done(&b);
	return s;
}

/* Whether the file is not as we wrote it last. */
static bool is_edited(const char *path, const char *hash_path, struct arena *a, struct str *ret_text)
{
	struct str known;
	if (file_read(path, CONFIG_MAX, a, ret_text, NULL) < 0)
		return false;
	return file_read(hash_path, 1024, a, &known, NULL) < 0 || !str_eq(str_trim(known), hash_of(a, *ret_text));
}

static int prepare_default(const char *dir, bool force_simulator, struct arena *a, struct up_config *ret,
                           struct err *err)
{
	const struct up_environment e = { .base_url = getenv("MILLRACE_BASE_URL"),
		                          .upstream_key = getenv("MILLRACE_API_KEY_UPSTREAM"),
		                          .model = getenv("MILLRACE_MODEL"),
		                          .openai_key = getenv(openai.variable),
		                          .anthropic_key = getenv(anthropic.variable),
		                          .gemini_key = getenv(gemini.variable) };
	const char *path = arena_printf(a, "%s/config.json", dir).p;
	const char *hash_path = arena_printf(a, "%s/config.written", dir).p;
	struct str text;
	ret->path = path;
	if (is_edited(path, hash_path, a, &text)) {
		ret->provider = arena_printf(a, "%s (changed by hand; kept)", path).p;
		ret->simulator = force_simulator || wants_simulator(text);
		return 0;
	}
	enum up_provider provider = up_config_choose(&e, force_simulator);
	text = config_text(a, provider, &e);
	ret->provider = provider_name(a, provider, &e);
	ret->simulator = provider == UP_PROVIDER_SIMULATOR;
	/* A crash between the two makes the file look edited: it is kept, and said so, which can be seen and mended. */
	int rc = file_write(hash_path, 0600, hash_of(a, text), err);
	return rc < 0 ? rc : file_write(path, 0600, text, err);
}

int up_config_prepare(const char *dir, const char *given, bool force_simulator, struct arena *a, struct up_config *ret,
                      struct err *err)
{
	if (!given)
		return prepare_default(dir, force_simulator, a, ret, err);
	struct str text;
	int rc = file_read(given, CONFIG_MAX, a, &text, err);
	if (rc < 0)
		return rc;
	char *real = realpath(given, NULL);
	if (!real)
		return err_set(err, ERR_IO, "%s: %s", given, strerror(errno));
	ret->path = ret->provider = arena_strz(a, str_from(real));
	ret->simulator = force_simulator || wants_simulator(text);
	free(real);
	return 0;
}

int up_config_read(const struct up_config *c, struct arena *a, struct up_graces *ret_graces,
                   struct conf_mistake **ret_mistakes, size_t *ret_n)
{
	struct conf *conf;
	struct conf_mistake *mistakes;
	size_t n;
	int rc = conf_load(c->path, a, &conf, &mistakes, &n);
	if (rc < 0) {
		if (ret_mistakes) {
			*ret_mistakes = mistakes;
			*ret_n = n;
		}
		return rc;
	}
	*ret_graces = (struct up_graces){ .server_ms = conf->server_grace_ms, .worker_ms = conf->worker_grace_ms };
	conf_unref(conf);
	return 0;
}
