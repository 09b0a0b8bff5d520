# SPDX-License-Identifier: Apache-2.0
"""Batches from files while api processes die: another one goes on, and every line becomes one job."""

import json
from collections import Counter

import pytest

from batchfile import chat_line, start, wait_for_batch
from stack import wait_until

LINES = 1700


def first_of_two(make_stack, fault, workers=0):
    """A stack with one of its two apis, which has the fault; so it is the one that keeps the batch."""
    stack = make_stack(apis=2, workers=workers, simulator=True, start=False)
    stack.apis[0].env = {**stack.apis[0].env, "MILLRACE_FAULTS": fault}
    for process in [stack.simulator, stack.apis[0], *stack.workers]:
        process.start()
    return stack


def it_dies_and_the_other_starts(stack):
    assert stack.apis[0].wait(30) == 137, "the point was not passed"
    stack.apis[0].env = stack.apis[1].env
    stack.apis[1].start()


def every_line_once(stack, n):
    rows = stack.sql("select custom_id, batch_index from job")
    assert len(rows) == n and sorted(r[1] for r in rows) == list(range(n))
    assert Counter(r[0] for r in rows) == Counter(f"r{i}" for i in range(n))
    assert stack.sql("select count(*) from payload") == [(n,)] and stack.sql("select count(*) from ready") == [(n,)]


@pytest.mark.parametrize("fault", [
    "db.result.blob_read=exit@2",          # in the middle of validation
    "db.send.batch_file_valid=exit@1",
    "db.result.batch_file_valid=exit@1",   # the verdict is written, and nobody knows
    "db.send.batch_file_load=exit@2",      # one group is in
    "db.result.batch_file_load=exit@2",    # two are, and nobody knows of the second
    "batch.after_load=exit@4",             # all are
])
def test_another_api_goes_on_where_one_was_killed(make_stack, fault):
    stack = first_of_two(make_stack, fault)
    batch = start(stack, [chat_line(f"r{i}", "x" * 600) for i in range(LINES)])
    it_dies_and_the_other_starts(stack)
    wait_until(lambda: stack.sql("select stage, loaded from batch_file") == [(2, LINES)], 40, "all lines being jobs")
    every_line_once(stack, LINES)
    stack.apis[0].start()
    assert stack.http().get(f"/v1/batches/{batch['id']}").json["request_counts"] == {"total": LINES, "completed": 0, "failed": 0}


@pytest.mark.parametrize("fault", ["db.result.batch_file_take=error@1", "db.result.batch_file_valid=error@1", "db.result.batch_file_load=error@2",
                                   "db.result.batch_file_keep=error@1", "db.result.blob_read=error@2"])
def test_an_answer_of_the_database_that_is_lost_does_no_harm(make_stack, fault):
    stack = make_stack(workers=0, simulator=True, env={"MILLRACE_FAULTS": fault})
    start(stack, [chat_line(f"r{i}", "x" * 600) for i in range(LINES)])
    wait_until(lambda: stack.sql("select stage, loaded from batch_file") == [(2, LINES)], 40, "all lines being jobs")
    every_line_once(stack, LINES)


def test_a_batch_runs_to_its_end_while_apis_die(make_stack):
    stack = first_of_two(make_stack, "batch.after_load=exit@1", workers=1)
    batch = start(stack, [chat_line(f"r{i}", f"say {i}") for i in range(1200)])
    it_dies_and_the_other_starts(stack)
    done = wait_for_batch(stack, batch["id"], "completed", limit=90, api=1)
    stack.apis[0].start()
    assert done["request_counts"] == {"total": 1200, "completed": 1200, "failed": 0}
    assert stack.sql("select count(*), count(distinct custom_id) from job") == [(1200, 1200)]
    assert stack.sql("select count(*) from outcome") == [(1200,)]
    output = stack.http(1).get(f"/v1/files/{done['output_file_id']}/content", timeout=60)
    assert Counter(json.loads(x)["custom_id"] for x in output.body.splitlines()) == Counter(f"r{i}" for i in range(1200))
