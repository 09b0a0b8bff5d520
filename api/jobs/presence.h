/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This process in table api_process, with a heartbeat every queue.heartbeat. A client of a synchronous request without a key can get its answer from
 * this process only: when the workers see that it is gone (worker/upkeep.c), they cancel what such clients waited for.
 */
#ifndef MR_API_JOBS_PRESENCE_H
#define MR_API_JOBS_PRESENCE_H

struct api;
struct presence;

struct presence *presence_new(struct api *api);
void presence_begin(struct presence *p); /* the schema is there; again is harmless */
/* Says that the process goes in peace. done is called then, also where that fails or there is nothing to say, but not before this returns, nor after
 * presence_stop. */
void presence_leave(struct presence *p, void (*done)(void *arg), void *arg);
void presence_stop(struct presence *p);
void presence_free(struct presence *p);

#endif
