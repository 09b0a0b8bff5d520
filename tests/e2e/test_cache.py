# SPDX-License-Identifier: Apache-2.0
"""Answers to identical requests: made once, kept, shared while they are made, and served stale only by the ladder."""

import json

from stack import wait_until

CACHED = {"routes": {"default": {"targets": ["sim"], "cache": {"mode": "exact", "ttl": "1h"}}}}


def script(stack, **rules):
    answer = stack.simulator.http().post("/_control", {"models": {"sim-extract": rules}})
    assert answer.status == 200, answer


def upstream(stack):
    return stack.simulator.http().get("/_control/stats").json["calls"]


def chat(text="the same question", **more):
    return {"messages": [{"role": "user", "content": text}], **more}


def test_500_identical_jobs_over_three_workers_are_one_call_and_one_bill(make_stack):
    stack = make_stack(workers=3, config=CACHED)
    script(stack, latency_ms=300)
    lines = "\n".join(json.dumps({"request": chat(), "user": f"u{i}"}) for i in range(500))
    batch = stack.http().post("/v1/jobs", lines.encode(), headers={"Content-Type": "application/x-ndjson"}).json
    wait_until(lambda: stack.http().get(f"/v1/batches/{batch['id']}").json["status"] == "completed", 60, "the batch's end")
    assert upstream(stack) == 1
    rows = stack.sql("select status, level, flags & 4, cost_nanousd, count(*) from outcome group by 1, 2, 3, 4")
    assert sum(r[4] for r in rows) == 500 and all(r[0] == 3 for r in rows), rows
    assert sum(r[4] for r in rows if r[1] == 0) == 1, rows  # primary: the one that called
    assert sum(r[4] for r in rows if r[1] == 2) == 499, rows  # cache: kept, or shared while it was made
    paid = stack.sql("select sum(cost_nanousd) from outcome")[0][0]
    assert paid == stack.sql("select sum(cost_nanousd) from attempt")[0][0] > 0
    assert len({r[0] for r in stack.sql("select body from result")}) == 1
    assert stack.sql("select count(*) from cache_flight") == [(0,)]


def test_a_hit_is_marked_and_costs_nothing(make_stack):
    stack = make_stack(config=CACHED)
    first = stack.wait_for(stack.submit(chat())["id"])
    again = stack.wait_for(stack.submit(chat(user="somebody else", stream=False, temperature=1.0, n=1))["id"])
    assert first["served_by"] == {"level": "primary", "target": "sim", "cached": False, "shared": False}
    assert again["served_by"] == {"level": "cache", "target": "sim", "cached": True, "shared": False} and again["attempts"] == 0
    assert again["result"] == first["result"] and again["cost"]["usd"] == "0.000000000"[:len(again["cost"]["usd"])]
    assert upstream(stack) == 1
    wait_until(lambda: stack.sql("select hits from cache_entry") == [(1,)], 15, "the hit being counted")


def test_what_differs_is_asked_for_itself(make_stack):
    stack = make_stack(config=CACHED)
    requests = [chat(), chat("another"), chat(temperature=0), chat(max_tokens=3), chat(response_format={"type": "json_object"})]
    for r in requests:
        assert stack.wait_for(stack.submit(r)["id"])["served_by"]["cached"] is False
    assert upstream(stack) == len(requests)


def test_a_leader_that_fails_leaves_the_question_to_the_next(make_stack):
    stack = make_stack(workers=2, config={**CACHED, "job": {"max_attempts": 1}})
    script(stack, fail_first=3, error_status=400, latency_ms=50)
    jobs = [stack.submit(chat()) for _ in range(10)]
    ended = [stack.wait_for(j["id"], ("succeeded", "failed"), 30) for j in jobs]
    assert sum(j["status"] == "failed" for j in ended) == 3 and sum(j["status"] == "succeeded" for j in ended) == 7
    assert upstream(stack) == 4


def test_a_killed_leader_leaves_the_question_to_the_next(make_stack):
    stack = make_stack(workers=2, config=CACHED)
    script(stack, hang=True, fail_first=1)
    first = stack.submit(chat())
    wait_until(lambda: stack.sql("select count(*) from cache_flight") == [(1,)] and upstream(stack) == 1, 10, "the first call")
    owner = stack.sql("select w.pid from lease l join worker w on w.id = l.worker_id")[0][0]
    second = stack.submit(chat())
    next(w for w in stack.workers if w.pid == owner).kill()
    assert stack.wait_for(second["id"], limit=30)["status"] == "succeeded"
    assert stack.wait_for(first["id"], limit=30)["status"] == "succeeded"
    assert upstream(stack) == 2


def test_an_answer_past_its_ttl_is_made_anew(make_stack):
    stack = make_stack(config={"routes": {"default": {"targets": ["sim"], "cache": {"mode": "exact", "ttl": "1s"}}}})
    stack.wait_for(stack.submit(chat())["id"])
    wait_until(lambda: stack.sql("select expires_at < now() from cache_entry") == [(True,)], 5, "the end of its ttl")
    assert stack.wait_for(stack.submit(chat())["id"])["served_by"]["level"] == "primary"
    assert upstream(stack) == 2


def test_an_answer_above_the_size_is_not_kept(make_stack):
    stack = make_stack(config={**CACHED, "cache": {"entry_bytes": 100}})
    jobs = [stack.submit(chat()) for _ in range(5)]
    for job in jobs:
        assert stack.wait_for(job["id"])["served_by"]["level"] == "primary"
    assert stack.sql("select count(*) from cache_entry") == [(0,)]
    wait_until(lambda: stack.sql("select count(*) from cache_flight") == [(0,)], 10, "the end of the flights")
