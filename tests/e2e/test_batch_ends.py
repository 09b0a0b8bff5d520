# SPDX-License-Identifier: Apache-2.0
"""The ends of batches, whatever they were doing: canceled in each state and by many at once, expired at each stage, killed. Each custom_id is told exactly once,
and the counts add up."""

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from batchfile import chat_line, fetch, start, wait_for_batch
from faults import script as script_model
from stack import wait_until
from test_batch_output import is_stopped, names, outputs, script
from test_message_batches import create as create_messages
from test_message_batches import ended, requests, results

LINES = 40


def cancel(stack, batch, api=0):
    return stack.http(api).post(f"/v1/batches/{batch['id']}/cancel")


def check_lines(stack, batch, n):
    """No line in both files, none twice, the counts are those of the lines; and all of them are in the results."""
    good, bad = outputs(stack, batch)
    told = Counter(names(good) + names(bad))
    assert not told or max(told.values()) == 1, told
    counts = batch["request_counts"]
    assert len(good) == counts["completed"] and counts["completed"] + counts["failed"] <= counts["total"] in (0, n), (counts, len(good), len(bad))
    own = batch["millrace"]["counts"]
    assert own["queued"] + own["running"] == 0 and sum(v for k, v in own.items()) == counts["total"], (own, counts)
    seen = [json.loads(x)["custom_id"] for x in stack.http().get(f"/v1/batches/{batch['id']}/results").text.splitlines()]
    assert len(seen) == len(set(seen)) and set(told) <= set(seen)


@pytest.mark.parametrize("state", ["validating", "loading", "in_progress", "finalizing", "completed", "failed"])
def test_a_cancel_in_each_state_by_many_at_once(make_stack, state):
    stack = make_stack(apis=2, workers=1, start=False)
    fault = {"validating": "db.send.batch_file_valid=stop", "loading": "db.send.batch_file_load=stop", "finalizing": "db.send.batch_output_finish=stop"}.get(state)
    plain = stack.apis[0].env
    stack.apis[0].env = {**plain, **({"MILLRACE_FAULTS": fault} if fault else {})}
    for process in [stack.simulator, stack.apis[0], *stack.workers]:
        process.start()
    if state == "in_progress":
        script(stack, slow={"latency_ms": 60000})
    lines = [chat_line(f"r{i}", model="slow" if i % 2 else "quick") for i in range(LINES)]
    batch = start(stack, lines if state != "failed" else ["bad"])
    if fault:
        wait_until(lambda: is_stopped(stack.apis[0].pid), 40, "the point")
    elif state == "in_progress":
        wait_until(lambda: fetch(stack, batch["id"])["request_counts"]["completed"] == LINES // 2, 40, "the quick ones")
    else:
        wait_for_batch(stack, batch["id"], state)
    stack.apis[1].start()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: cancel(stack, batch, 1), range(6)))
    assert [a.status for a in answers] == [200] * 6
    told = {a.json["status"] for a in answers}
    assert told <= ({"cancelling", "cancelled"} if state not in ("finalizing", "completed", "failed") else {state}), told
    if fault:
        stack.apis[0].cont()
    done = wait_for_batch(stack, batch["id"], limit=60, api=1)
    assert done["status"] == {"finalizing": "completed"}.get(state, state if state in ("completed", "failed") else "cancelled"), done
    if state in ("finalizing", "completed"):
        assert done["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0} and done["cancelling_at"] is None
    elif state != "failed":
        assert done["cancelling_at"] and done["cancelled_at"] >= done["cancelling_at"] and done["completed_at"] is None
    check_lines(stack, done, LINES)
    assert cancel(stack, batch).json["status"] == done["status"]


@pytest.mark.parametrize("stage", ["validating", "loading", "running"])
def test_a_deadline_at_each_stage(make_stack, stage):
    stack = make_stack(apis=2, workers=1, start=False)
    fault = {"validating": "db.send.batch_file_valid=stop", "loading": "db.send.batch_file_load=stop"}.get(stage)
    plain = stack.apis[0].env
    stack.apis[0].env = {**plain, **({"MILLRACE_FAULTS": fault} if fault else {})}
    for process in [stack.simulator, stack.apis[0], *(stack.workers if stage != "running" else [])]:
        process.start()
    batch = start(stack, [chat_line(f"r{i}") for i in range(LINES)], window="1m")
    if fault:
        wait_until(lambda: is_stopped(stack.apis[0].pid), 40, "the point")
    else:
        wait_until(lambda: stack.sql("select count(*) from job")[0][0] == LINES, 40, "jobs")
    stack.sql("update batch_file set expires_at = now()")
    stack.sql("update ready set expires_at = now()")
    stack.apis[1].start()
    if fault:
        stack.apis[0].kill()
        stack.apis[0].env = plain
        stack.apis[0].start()
    for worker in stack.workers if stage == "running" else []:
        worker.start()
    done = wait_for_batch(stack, batch["id"], "expired", limit=60, api=1)
    assert done["expired_at"] and done["completed_at"] is None and done["request_counts"] == {"total": LINES, "completed": 0, "failed": 0}, "as OpenAI counts: what never ran has not failed"
    good, bad = outputs(stack, done)
    assert good == [] and names(bad) == [f"r{i}" for i in range(LINES)]
    assert {row["error"]["code"] for row in bad} == {"batch_expired"} and all(row["response"] is None for row in bad)
    check_lines(stack, done, LINES)


def test_two_retries_at_once_run_each_line_once(make_stack):
    stack = make_stack(apis=2)
    script(stack, flaky={"error_class": "bad_request"})
    lines = [chat_line(f"r{i}", model="flaky" if i % 2 else "good") for i in range(20)]
    first = wait_for_batch(stack, start(stack, lines)["id"], "completed")
    script(stack)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: stack.http(i % 2).post(f"/v1/batches/{first['id']}/retry"), range(4)))
    assert 202 in {a.status for a in answers} <= {202, 409}, answers
    done = wait_for_batch(stack, first["id"], "completed")
    assert done["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
    assert stack.sql("select count(*) from outcome")[0][0] == 30
    check_lines(stack, done, 20)


def test_a_message_batch_tells_each_request_once_over_kills(make_stack):
    """kill -9 of apis and workers while it runs."""
    stack = make_stack(apis=2, workers=2)
    script_model(stack, model="sim-extract", latency_ms=150)
    batch = create_messages(stack, requests(300)).json
    for process in (stack.workers[0], stack.apis[0], stack.workers[1], stack.apis[1]):
        time.sleep(0.4)  # somewhere in the middle; the outcome is the same wherever it is
        process.kill()
        process.start()
        counts = stack.http().get(f"/v1/messages/batches/{batch['id']}").json["request_counts"]
        assert sum(counts.values()) == 300, counts
    done = ended(stack, batch["id"], limit=90)
    assert done["request_counts"] == {"processing": 0, "succeeded": 300, "errored": 0, "canceled": 0, "expired": 0}
    assert set(results(stack, batch["id"])) == {f"r-{i}" for i in range(300)}
    text = stack.http().get(f"/v1/messages/batches/{batch['id']}/results", headers={"anthropic-version": "2023-06-01"}).text
    assert len(text.splitlines()) == 300


def test_a_message_batch_canceled_by_many_at_once_tells_all(make_stack):
    stack = make_stack(apis=2, workers=1)
    script_model(stack, model="sim-extract", latency_ms=3000)
    batch = create_messages(stack, requests(60)).json
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: stack.http(i % 2).post(f"/v1/messages/batches/{batch['id']}/cancel"), range(4)))
    assert {a.status for a in answers} == {200} and {a.json["processing_status"] for a in answers} <= {"canceling", "ended"}
    done = ended(stack, batch["id"], limit=60)
    assert done["cancel_initiated_at"] and done["request_counts"]["processing"] == 0 and sum(done["request_counts"].values()) == 60
    found = results(stack, batch["id"])
    assert len(found) == 60 and Counter(r["type"] for r in found.values())["canceled"] == done["request_counts"]["canceled"] > 0
