/* SPDX-License-Identifier: Apache-2.0 */
/* A body of one job per line, taken in as it arrives. */
#ifndef MR_API_BATCH_UPLOAD_H
#define MR_API_BATCH_UPLOAD_H

#include "common/flow.h"
#include "common/str.h"

struct request;

extern const struct flow_step batch_upload_steps[];
void batch_upload_piece(struct request *q, struct str piece);
void batch_upload_whole(struct request *q);

#endif
