# SPDX-License-Identifier: Apache-2.0
"""States of the queue that a race or an outage leaves behind: whatever stands there is found and ends."""

from faults import script
from stack import wait_until


def in_an_hour(stack):
    return stack.sql("select to_json(now() + interval '1 hour')")[0][0]


def floor(stack):
    return stack.sql("select coalesce(max(floor), 0) from lane_floor")[0][0]


def test_a_job_below_the_floor_is_found(make_stack):
    """Its insert committed after claims had moved past its place (a large batch, a claim that was rolled back)."""
    stack = make_stack()
    script(stack, latency_ms=150)
    for _ in range(4):
        before = floor(stack)
        stack.wait_for(stack.submit("moves the floor")["id"])
        wait_until(lambda: floor(stack) > before, 5, "a floor")
    late = stack.submit("late", run_at=in_an_hour(stack))
    stack.sql("with p as (delete from parked returning *) insert into ready (pass, tenant_id, token, expires_at, bucket, lane, job_id, priority)"
              " select 0, tenant_id, token, expires_at, bucket, lane, job_id, priority from p returning 1")
    stack.wait_for(late["id"], limit=10)
