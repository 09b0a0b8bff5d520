/* SPDX-License-Identifier: Apache-2.0 */
/* What Azure shares with OpenAI. */
#ifndef MR_CLI_SIMULATOR_OPENAI_H
#define MR_CLI_SIMULATOR_OPENAI_H

#include "cli/simulator/format.h"

int openai_read(struct chat *c, const json_t *body, struct err *err);
/* metadata.tag, else user; p is NULL when there is none. */
struct str openai_tag(const json_t *body);
int openai_write(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an);
int openai_write_stream(struct buf *b, const struct chat *c, const struct rule *r, const struct answer *an,
                        struct stream_marks *ret);
/* {"error": {"message", "type", "param", "code"}}; param and code may be null. */
void openai_write_error(struct buf *b, const struct failure *f);
void openai_write_stream_error(struct buf *b, const struct failure *f);
void openai_add_limits(struct http_req *req, const struct rate *requests, const struct rate *tokens);

#endif
