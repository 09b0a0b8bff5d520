-- SPDX-License-Identifier: Apache-2.0
-- Jobs of this worker that someone wants canceled, or whose text someone follows. $1 worker.
select bucket, job_id, token, cancel_requested, followed from lease where worker_id = $1::uuid and cancel_requested
union all
select bucket, job_id, token, cancel_requested, followed from lease where worker_id = $1::uuid and followed and not cancel_requested
