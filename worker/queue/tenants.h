/* SPDX-License-Identifier: Apache-2.0 */
/* Names of tenants by id: read whole every minute, and when an id is met that is not known. A tenant's name never changes. */
#ifndef MR_WORKER_QUEUE_TENANTS_H
#define MR_WORKER_QUEUE_TENANTS_H

#include "worker/worker.h"

struct tenants;
struct tenants *tenants_new(struct worker *w);
void tenants_free(struct tenants *t);
bool tenants_are_idle(const struct tenants *t);
/* p NULL: not read yet (it is being read). Lives as long as the process. */
struct str tenant_name(struct tenants *t, int64_t id);

#endif
