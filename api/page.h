/* SPDX-License-Identifier: Apache-2.0 */
/* A page of a list: {"object":"list","data":[…],"has_more":…,"first_id":…,"last_id":…}. */
#ifndef MR_API_PAGE_H
#define MR_API_PAGE_H

#include "common/db/db.h"

/* The query has up to limit + 1 rows, whose first column is the id; write makes one object of a row. */
void page_write(struct buf *b, const struct db_query *q, int limit, const char *prefix,
                void (*write)(struct buf *b, const struct db_query *q, int row));

#endif
