# SPDX-License-Identifier: Apache-2.0
"""A process dies at one exact point of its work, as by kill -9 (fault points, see common/fault.h); another one, or itself, goes on."""

import http.client
import json
from collections import Counter

import pytest

from faults import attempts, calls, one_outcome_each, script
from stack import wait_until

QUICK_RESCUE = {"queue": {"lease": "1s", "heartbeat": "200ms", "rescue": "100ms"}}


def crashing(make_stack, room, point, config=None):
    """A stack of one api and one worker; the process of that room dies when it passes the point for the first time."""
    stack = make_stack(start=False, config=config)
    process = (stack.apis if room == "api" else stack.workers)[0]
    process.env = {**process.env, "MILLRACE_FAULTS": f"{point}=exit@1"}
    return stack.start(), process


def dies_at_its_start(process, point):
    """It may not come as far as to be ready."""
    process.env = {**process.env, "MILLRACE_FAULTS": f"{point}=exit@1"}
    ready_file, process.ready_file = process.ready_file, None
    process.start()
    process.wait(20)
    process.ready_file = ready_file
    return process


def go_on_without_fault(process):
    assert process.wait(20) == 137, "the point was not passed"
    process.env = {name: value for name, value in process.env.items() if name != "MILLRACE_FAULTS"}
    process.start()


@pytest.mark.parametrize("point", ["db.send.accept", "db.result.accept", "accept.after_commit", "submit.before_answer"])
def test_an_api_that_dies_while_it_accepts_makes_one_job_or_none(point, make_stack):
    stack, api = crashing(make_stack, "api", point)
    headers = {"Idempotency-Key": "one"}
    with pytest.raises((OSError, http.client.HTTPException)):
        stack.submit("tag:one hello", headers=headers)
    go_on_without_fault(api)
    assert stack.sql("select count(*) from job")[0][0] == (0 if point == "db.send.accept" else 1)
    job = stack.submit("tag:one hello", headers=headers)
    stack.wait_for(job["id"])
    assert stack.sql("select count(*) from job") == [(1,)]
    assert one_outcome_each(stack) == {"succeeded"}
    assert len(calls(stack)) == 1


@pytest.mark.parametrize("point", ["db.send.batch_accept", "db.send.batch_accept_jobs", "db.result.batch_accept_jobs", "accept.after_commit"])
def test_an_api_that_dies_while_it_accepts_a_batch_makes_all_of_it_or_nothing(point, make_stack):
    stack, api = crashing(make_stack, "api", point)
    lines = [json.dumps({"route": "default", "request": {"messages": [{"role": "user", "content": f"tag:{n} hello"}]}}) for n in range(50)]
    headers = {"Idempotency-Key": "whole", "Content-Type": "application/x-ndjson"}

    def send():
        return stack.http().post("/v1/jobs", "\n".join(lines).encode(), headers=headers)

    with pytest.raises((OSError, http.client.HTTPException)):
        send()
    go_on_without_fault(api)
    written = 0 if point.startswith("db.send") else 1
    wait_until(lambda: stack.sql("select (select count(*) from batch), (select count(*) from job)") == [(written, written * 50)],
               5, "the batch being whole")
    batch = send()
    assert batch.status == 202, batch
    wait_until(lambda: stack.http().get(f"/v1/batches/{batch.json['id']}").json["status"] == "completed", 20, "the end of the batch")
    assert stack.sql("select count(*), sum(succeeded) from batch") == [(1, 50)]
    assert one_outcome_each(stack) == {"succeeded"}
    assert len(calls(stack)) == 50


@pytest.mark.parametrize("point, counts", [
    # Where it dies, and for its job: the calls, the attempts that count, the interruptions.
    ("db.send.claim", (1, 1, 0)),
    ("db.result.claim", (1, 1, 1)),
    ("call.start", (1, 1, 1)),
    ("call.read", (2, 1, 1)),
    ("db.send.record", (2, 1, 1)),
    ("db.result.record", (1, 1, 0)),
])
def test_a_worker_that_dies_on_the_way_ends_its_job_once(point, counts, make_stack):
    stack, worker = crashing(make_stack, "worker", point, QUICK_RESCUE)
    job = stack.submit("tag:one hello")["id"]
    go_on_without_fault(worker)
    done = stack.wait_for(job)
    assert (len(calls(stack)), done["attempts"], done["interruptions"]) == counts
    assert one_outcome_each(stack) == {"succeeded"}


@pytest.mark.parametrize("point, kept", [("db.send.attempt_write", 0), ("db.result.attempt_write", 1)])
def test_a_worker_that_dies_between_two_attempts_keeps_the_count(point, kept, make_stack):
    stack, worker = crashing(make_stack, "worker", point, QUICK_RESCUE)
    script(stack, status_sequence=[500, 200])
    job = stack.submit("tag:one hello")["id"]
    go_on_without_fault(worker)
    done = stack.wait_for(job)
    assert (done["attempts"], done["interruptions"]) == (kept + 1, 1)
    assert [call["status"] for call in calls(stack)] == [500, 200]
    assert Counter(a["code"] for a in attempts(stack, job)) == Counter({"ok": 1, "interrupted": 1, **({"transient": 1} if kept else {})})


@pytest.mark.parametrize("point, interruptions", [("db.send.give_back", 1), ("db.result.give_back", 0)])
def test_a_worker_that_dies_while_it_parks_a_job_leaves_it_in_one_place(point, interruptions, make_stack):
    stack, worker = crashing(make_stack, "worker", point, {**QUICK_RESCUE, "retry": {"in_place": "0ms"}})
    script(stack, status_sequence=[429, 200], retry_after=1)
    job = stack.submit("tag:one hello")["id"]
    go_on_without_fault(worker)
    done = stack.wait_for(job)
    assert (done["attempts"], done["interruptions"]) == (1, interruptions)
    assert one_outcome_each(stack) == {"succeeded"}
    assert [call["status"] for call in calls(stack)] == [429, 200]


@pytest.mark.parametrize("point", ["db.send.fold", "db.result.fold"])
def test_a_worker_that_dies_while_it_counts_a_batch_counts_each_job_once(point, make_stack):
    stack = make_stack(start=False)
    stack.simulator.start()
    stack.apis[0].start()
    lines = [json.dumps({"route": "default", "request": {"messages": [{"role": "user", "content": "hello"}]}}) for _ in range(20)]
    batch = stack.http().post("/v1/jobs", "\n".join(lines).encode(), headers={"Content-Type": "application/x-ndjson"}).json["id"]
    assert stack.http().post(f"/v1/batches/{batch}/cancel").status == 200
    assert stack.sql("select sum(canceled) from batch_delta") == [(20,)]  # what is to be counted is there before the worker is
    worker = dies_at_its_start(stack.workers[0], point)
    assert stack.sql("select (select count(*) from batch_delta) > 0") == [(point == "db.send.fold",)]
    go_on_without_fault(worker)
    wait_until(lambda: stack.http().get(f"/v1/batches/{batch}").json["status"] == "canceled", 20, "the end of the batch")
    counts = stack.http().get(f"/v1/batches/{batch}").json["counts"]
    assert counts["canceled"] == 20 and sum(counts.values()) == 20
    assert stack.sql("select count(*) from batch_delta") == [(0,)]


@pytest.mark.parametrize("point", ["db.send.rescue", "db.result.rescue"])
def test_a_worker_that_dies_while_it_rescues_rescues_once(point, make_stack):
    stack = make_stack(workers=2, start=False, config=QUICK_RESCUE)
    first, second = stack.workers
    stack.simulator.start()
    stack.apis[0].start()
    first.start()
    script(stack, hang=True, fail_first=5)
    jobs = [stack.submit(f"tag:{n} hello")["id"] for n in range(5)]
    wait_until(lambda: len(calls(stack)) == 5, 10, "five calls")
    first.kill()
    wait_until(lambda: stack.sql("select beat_at < now() - interval '1 s' from worker") == [(True,)], 10, "the lapse of the lease")
    dies_at_its_start(second, point)
    go_on_without_fault(second)
    for job in stack.wait_for_all(jobs):
        # Once more when the second worker had it already.
        assert job["attempts"] == 1 and 1 <= job["interruptions"] <= 2
    assert one_outcome_each(stack) == {"succeeded"}
