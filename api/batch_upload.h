/* SPDX-License-Identifier: Apache-2.0 */
/* A body of one job per line, taken in as it arrives. */
#ifndef MR_API_BATCH_UPLOAD_H
#define MR_API_BATCH_UPLOAD_H

#include "api/request.h"

extern const struct body_stream batch_upload_stream;

#endif
