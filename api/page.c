/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of a list's page. The row beyond the limit is not shown; it only tells that there are more. */
#include "api/page.h"

#include "api/jobs/job_object.h"

void page_write(struct buf *b, const struct db_query *q, int limit, const char *prefix,
                void (*write)(struct buf *b, const struct db_query *q, int row))
{
	int n = MIN(db_rows(q), limit);
	buf_add_z(b, "{\"object\":\"list\",\"data\":[");
	for (int row = 0; row < n; row++) {
		if (row > 0)
			buf_add_char(b, ',');
		write(b, q, row);
	}
	buf_printf(b, "],\"has_more\":%s,\"first_id\":", db_rows(q) > limit ? "true" : "false");
	job_object_id(b, n > 0 ? db_get_id(q, 0, 0) : (struct id){ 0 }, prefix);
	buf_add_z(b, ",\"last_id\":");
	job_object_id(b, n > 0 ? db_get_id(q, n - 1, 0) : (struct id){ 0 }, prefix);
	buf_add_char(b, '}');
}
