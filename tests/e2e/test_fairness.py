# SPDX-License-Identifier: Apache-2.0
"""One tenant's pile of work does not stand in another's way."""

import json

from stack import create_key, wait_until


def ndjson(n, route="default"):
    line = {"route": route, "request": {"messages": [{"role": "user", "content": "hello"}]}}
    return "\n".join(json.dumps({**line, "metadata": {"n": str(i)}}) for i in range(n))


def test_fifty_thousand_jobs_of_one_tenant_hardly_delay_anothers_first(make_stack):
    # 8 slots and calls of 20 ms: the pile would take over two minutes.
    stack = make_stack(config={"worker": {"slots": 8}})
    stack.simulator.http().post("/_control", {"models": {"sim-extract": {"answer": "ok", "latency_ms": 20}}})
    other = create_key(stack.db, "other", tenant="other")
    big = stack.http().post("/v1/jobs", ndjson(50000), headers={"Content-Type": "application/x-ndjson"}, timeout=120)
    assert big.status == 202, big
    # The pile is being worked on.
    wait_until(lambda: stack.sql("select count(*) from outcome")[0][0] > 50, 30, "the first outcomes of the pile")
    for _ in range(3):
        answer = stack.http(key=other).post("/v1/jobs", stack.body("me too"), headers={"Prefer": "wait=60"}, timeout=90)
        assert answer.json["status"] == "succeeded", answer
    assert stack.sql("select count(*) from ready")[0][0] > 40000, "the pile was worked off too fast to show anything"
    # A second of a free machine, said as an order, which does not depend on what else it does: 8 slots make 400 calls of 20 ms in it.
    between = [n for n, in stack.sql(
        "select (select count(*) from outcome p join job b on b.bucket = p.bucket and b.id = p.job_id where b.batch_id is not null"
        " and p.started_at > j.created_at and p.started_at < o.started_at)"
        " from job j join outcome o on o.bucket = j.bucket and o.job_id = j.id where j.batch_id is null")]
    assert len(between) == 3 and max(between) < 400, between
    stack.http().post(f"/v1/batches/{big.json['id']}/cancel", timeout=120)


def test_priorities_go_first_and_waiting_jobs_age(make_stack):
    stack = make_stack(workers=1, config={"worker": {"slots": 1, "claim": 1}, "queue": {"aging": "1h"}})
    stack.simulator.http().post("/_control", {"models": {"sim-extract": {"answer": "ok", "hang": True, "fail_first": 1}}})
    blocker = stack.submit("first of all")
    wait_until(lambda: stack.simulator.http().get("/_control/stats").json["in_flight"] == 1, 10, "the first call")
    low = stack.submit("low", priority=9)
    high = stack.submit("high", priority=0)
    stack.http().post(f"/v1/jobs/{blocker['id']}/cancel")
    done = [stack.wait_for(j["id"]) for j in (low, high)]
    assert done[1]["finished_at"] < done[0]["finished_at"], "priority 0 goes before priority 9"
