-- SPDX-License-Identifier: Apache-2.0
-- A worker that was declared dead, and has another id now, has aborted its last call: it holds nothing any more. $1 its old id.
update limit_hold set held = 0, at = now()
where (key, worker_id) in (select key, worker_id from limit_hold where worker_id = $1::uuid and held > 0 order by key for update)
