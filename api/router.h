/* SPDX-License-Identifier: Apache-2.0 */
/* Which steps answer which method and path. The table in router.c is the list of all that the API can do. */
#ifndef MR_API_ROUTER_H
#define MR_API_ROUTER_H

#include "common/flow.h"
#include "common/http/http_types.h"
#include "common/id.h"

struct request;

enum route_key { KEY_NONE, KEY_ANY, KEY_ADMIN };
/* Whose errors it answers with. BOTH: problem+json that has OpenAI's member `error` too, where both faces share a path. */
enum route_errors { ERRORS_NATIVE, ERRORS_OPENAI, ERRORS_ANTHROPIC, ERRORS_BOTH };
enum route_body { BODY_NONE, BODY_JSON, BODY_JOBS /* JSON, or NDJSON as a stream */, BODY_SUBMIT /* JSON; the limits at the door apply */, BODY_MULTIPART /* form.h */, BODY_MESSAGES /* a stream: message_batches.h */ };

struct route {
	enum http_method method;
	const char *pattern; /* "/v1/jobs/{job}/cancel"; also the metric label */
	enum route_key key;
	enum route_body body;
	const struct flow_step *steps;
	enum route_errors errors;
};

struct route_match {
	const struct route *route; /* NULL: no such path, or not with this method */
	struct id id;              /* of {job}, {batch}, {file}, … */
	bool has_id;
	struct str name; /* of {name} or {key}; borrowed from the path; p NULL: the pattern has none */
	bool path_known;
	char allow[64]; /* methods of this path, when path_known */
};

void router_find(enum http_method method, struct str path, struct route_match *ret);
/* Whose errors a path answers with, also one that does not exist or was not read to its end. */
enum route_errors router_errors(struct str path);
/* All routes, ended by a row without a pattern. */
extern const struct route router_routes[];

#endif
