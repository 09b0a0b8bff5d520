/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the Gemini format: gemini.c (chats), gemini_errors.c, gemini_embed.c. */
#ifndef MR_CLI_SIMULATOR_GEMINI_H
#define MR_CLI_SIMULATOR_GEMINI_H

#include "cli/simulator/format.h"

/* Adds the parts of a content to the message being read. */
int gemini_read_parts(struct chat *c, const json_t *content, struct err *err);

extern const struct error_row gemini_errors[ERROR_CLASSES];
/* {"error": {"code", "message", "status", "details"}}; a content filter is told in a good answer. */
void gemini_write_error(struct buf *b, const struct failure *f);
void gemini_write_stream_error(struct buf *b, const struct failure *f);

/* :embedContent and :batchEmbedContents */
int gemini_embed_build(struct call *c, const json_t *body, struct err *err);

#endif
