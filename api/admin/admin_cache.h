/* SPDX-License-Identifier: Apache-2.0 */
/* /admin/v1/cache: kept answers, counted, listed and deleted. */
#ifndef MR_API_ADMIN_ADMIN_CACHE_H
#define MR_API_ADMIN_ADMIN_CACHE_H

#include "common/flow.h"

extern const struct flow_step admin_cache_stats_steps[];
extern const struct flow_step admin_cache_clear_steps[];
extern const struct flow_step admin_cache_list_steps[];
extern const struct flow_step admin_cache_get_steps[];
extern const struct flow_step admin_cache_delete_steps[];

#endif
