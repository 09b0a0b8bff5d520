/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters, gauges and histograms of this process, from the table metrics.def. Label values are given in the table's order,
 * joined by '\x1f' in `labels` ("" when the metric has none); a metric keeps at most 512 label sets, more go to "other".
 */
#ifndef MR_COMMON_METRICS_H
#define MR_COMMON_METRICS_H

#include "common/buf.h"

enum metric_id {
#define METRIC(id, kind, name, labels, help) METRIC_##id,
#include "common/metrics.def"
#undef METRIC
	METRIC_COUNT,
};

void metrics_init(void);
void metrics_done(void);
void metric_add(enum metric_id id, const char *labels, int64_t n);
void metric_set(enum metric_id id, const char *labels, int64_t v);
void metric_observe_ns(enum metric_id id, const char *labels, uint64_t ns);
int metrics_write(struct buf *b); /* Prometheus text format 0.0.4 */
int64_t metric_get(enum metric_id id, const char *labels); /* counters and gauges; 0 when never set */

#endif
