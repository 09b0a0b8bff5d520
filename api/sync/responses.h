/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/responses/{response}: what each call does, as steps. POST /v1/responses is sync_response_steps; what it needs of other responses is here, too. */
#ifndef MR_API_SYNC_RESPONSES_H
#define MR_API_SYNC_RESPONSES_H

#include "api/faces/face.h"
#include "common/flow.h"

struct db_query;
struct request;

extern const struct flow_step responses_get_steps[];
extern const struct flow_step responses_cancel_steps[];
extern const struct flow_step responses_delete_steps[];
extern const struct flow_step responses_input_items_steps[];

/* One step of a table, in two halves: the response that r->previous names becomes the front of r->request. One that does not exist, is another tenant's, was
 * not stored or has not completed ends the request with ERR_PREVIOUS_NOT_FOUND. Nothing to do without r->previous. */
enum flow_next responses_previous_start(struct request *q, const struct face_request *r);
enum flow_next responses_previous_done(struct request *q, struct face_request *r, int rc);
/* The same outside of a request, for an r that has `previous`, in two halves around the query that the first inits: 0, or -ERR_PREVIOUS_NOT_FOUND with err. */
int responses_previous_query(struct db_query *q, int64_t tenant_id, const struct face_request *r, struct err *err);
int responses_previous_take(const struct db_query *q, struct face_request *r, struct err *err);

/* One step likewise: erases the request and the answer of q->id, which has ended. A failure leaves them to retention. */
enum flow_next responses_forget_start(struct request *q);

#endif
