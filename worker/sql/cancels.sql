-- SPDX-License-Identifier: Apache-2.0
-- Jobs of this worker that someone wants canceled. $1 worker.
select bucket, job_id, token from lease where worker_id = $1::uuid and cancel_requested
