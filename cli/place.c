/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the database of the direct commands (migrate, key). The order is from the most to the least deliberate: what
 * the command line says, what the configuration says, what happens to run in this directory. A configuration that is
 * given but wrong is an error, never skipped: falling through would change another database than the one that was
 * meant.
 */
#include "cli/place.h"

#include "common/conf.h"
#include "common/file.h"
#include "common/json.h"

#define READY_MAX (1 << 20)

/* The configuration's database.url into a; "" when it has none. */
static int url_of_conf(const char *file, struct arena *a, const char **ret, struct err *err)
{
	struct conf *conf = NULL;
	struct conf_mistake *mistakes = NULL;
	size_t n = 0;
	int rc = conf_load(file, a, &conf, &mistakes, &n);
	if (rc < 0 && n)
		return err_set(err, ERR_CONFIG, "%s: %.*s: %.*s%s", file ? file : "environment",
		               STR_ARG(mistakes[0].path), STR_ARG(mistakes[0].text),
		               n > 1 ? " (and more: millrace check-config)" : "");
	if (rc < 0)
		return err_set(err, ERR_CONFIG, "the configuration %s cannot be read", file ? file : "");
	*ret = arena_strz(a, str_from(conf->database_url));
	conf_unref(conf);
	return 0;
}

static int url_of_ready_file(const char *dir, struct arena *a, const char **ret, struct err *err)
{
	struct str path = arena_printf(a, "%s/ready.json", dir), text;
	int rc = file_read(path.p, READY_MAX, a, &text, err);
	if (rc < 0)
		return rc;
	_cleanup_(json_drop) json_t *ready = json_parse(text, err);
	if (!ready) {
		err_wrap(err, "%s", path.p);
		return -ERR_CONFIG;
	}
	struct str url = json_str(ready, "database_url");
	if (!url.n)
		return err_set(err, ERR_CONFIG, "%s: has no database_url", path.p);
	*ret = arena_strz(a, url);
	return 0;
}

int place_database_url(const struct place *p, struct arena *a, const char **ret_url, struct err *err)
{
	const char *url = p->database_url;
	if (!url) {
		int rc = url_of_conf(p->config, a, &url, err);
		if (rc < 0)
			return rc;
	}
	if (!*url) {
		int rc = url_of_ready_file(p->dir, a, &url, err);
		if (rc == -ERR_NOT_FOUND)
			return err_set(err, ERR_CONFIG,
			               "no database: give --database-url or --config, or start `millrace up` here (no "
			               "%s/ready.json)",
			               p->dir);
		if (rc < 0)
			return rc;
	}
	*ret_url = url;
	return 0;
}
