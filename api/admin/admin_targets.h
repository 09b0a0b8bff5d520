/* SPDX-License-Identifier: Apache-2.0 */
/* /admin/v1/targets: what the fleet knows of its providers' targets, and what an operator says of them. */
#ifndef MR_API_ADMIN_ADMIN_TARGETS_H
#define MR_API_ADMIN_ADMIN_TARGETS_H

#include "common/flow.h"

extern const struct flow_step admin_targets_list_steps[];
extern const struct flow_step admin_targets_get_steps[];
extern const struct flow_step admin_targets_pause_steps[];
extern const struct flow_step admin_targets_resume_steps[];
extern const struct flow_step admin_targets_drain_steps[];
extern const struct flow_step admin_targets_reset_steps[];

#endif
