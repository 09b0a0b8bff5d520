/* SPDX-License-Identifier: Apache-2.0 */
/* A body of one job per line, taken in as it arrives. */
#ifndef MR_API_BATCHES_BATCH_UPLOAD_H
#define MR_API_BATCHES_BATCH_UPLOAD_H

#include "api/request.h"

struct batch_draft;

extern const struct body_stream batch_upload_stream;

/* The ends of steps that all who bring a batch have: of door_more, and of batch_draft_commit. The latter's header Location is path, prefix and the id. */
enum flow_next batch_upload_room_done(struct flow *f, int rc);
enum flow_next batch_upload_written(struct request *q, const struct batch_draft *d, const char *path, const char *prefix, int rc);

#endif
