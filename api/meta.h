/* SPDX-License-Identifier: Apache-2.0 */
/* What the process says about itself: /healthz, /readyz, /metrics. */
#ifndef MR_API_META_H
#define MR_API_META_H

#include "common/flow.h"

struct api;

extern const struct flow_step meta_health_steps[];
extern const struct flow_step meta_ready_steps[];
extern const struct flow_step meta_metrics_steps[];

#endif
