# SPDX-License-Identifier: Apache-2.0
"""What a batch used is what its jobs' calls used, each counted once: over retries, kills and cancels, and while deltas wait to be folded."""

import json

import pytest

from stack import wait_until

NDJSON = {"Content-Type": "application/x-ndjson"}
OVER = ("completed", "canceled")


@pytest.fixture
def fleet(make_stack):
    target = {"provider": "openai", "api_key": "sk-simulator"}
    stack = make_stack(workers=2, start=False, config={
        "retry": {"in_place": "0s", "base": "20ms", "max": "50ms", "budget_min": 10000}, "breaker": {"enabled": False}, "job": {"max_attempts": 2}})
    for process in stack.workers + stack.apis:
        process.config["targets"]["gift"] = {**target, "base_url": stack.simulator.base_url, "model": "gift"}
        process.config["routes"]["gift"] = {"targets": ["gift"]}
    return stack.start()


def script(stack, **rule):
    stack.simulator.http().post("/_control", {"reset": True, "models": {"*": rule}})


def submit(stack, n):
    lines = [json.dumps({"route": "gift" if i % 5 == 4 else "default",
                         "request": {"messages": [{"role": "user", "content": f"question {i}"}]}}) for i in range(n)]
    return stack.http().post("/v1/batches", "\n".join(lines).encode(), headers=NDJSON).json["id"]


def batch(stack, batch_id):
    return stack.http().get(f"/v1/batches/{batch_id}").json


def ended(stack, batch_id):
    counts = batch(stack, batch_id)["counts"]
    return sum(counts[s] for s in ("succeeded", "failed", "canceled", "expired"))


def wait_over(stack, batch_id):
    return wait_until(lambda: (b := batch(stack, batch_id))["status"] in OVER and b, 60, "the end of the batch")


def check(stack, batch_id):
    """The batch agrees with the attempts of its jobs, and each job's newest outcome with those of its own."""
    b = wait_over(stack, batch_id)
    uuid = batch_id[6:]
    rows = stack.sql("""select coalesce(sum(input_tokens), 0)::int8, coalesce(sum(cached_input_tokens), 0)::int8, coalesce(sum(output_tokens), 0)::int8,
        coalesce(sum(reasoning_tokens), 0)::int8, coalesce(sum(cost_nanousd), 0)::int8, count(distinct job_id) filter (where cost_nanousd is null)
        from attempt a join job j on j.id = a.job_id where j.batch_id = %s::uuid""", uuid)
    names = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
    assert tuple(b["usage"][n] for n in names) == rows[0][:4]
    assert round(float(b["cost"]["usd"]) * 10**9) == rows[0][4] and b["cost"]["unknown_jobs"] == rows[0][5], (b, rows)
    assert batch(stack, batch_id) == {**b, "progress": batch(stack, batch_id)["progress"]}
    odd = stack.sql("""select j.id, o.*, a.* from job j
        cross join lateral (select input_tokens, output_tokens, cost_nanousd from outcome o where o.job_id = j.id order by token desc limit 1) o
        cross join lateral (select coalesce(sum(input_tokens), 0) as i, coalesce(sum(output_tokens), 0) as o,
            case when coalesce(bool_and(cost_nanousd is not null), true) then coalesce(sum(cost_nanousd), 0) end as c from attempt a where a.job_id = j.id) a
        where j.batch_id = %s::uuid and (o.input_tokens, o.output_tokens) <> (a.i, a.o) or o.cost_nanousd is distinct from a.c""", uuid)
    assert odd == []
    return b


def test_the_sum_of_the_attempts_is_the_batchs_usage_over_kills_and_retries(fleet):
    script(fleet, error_rate=0.5, seed=3, cut_after_bytes=300, latency_ms=30, cached_tokens=2)
    batch_id = submit(fleet, 60)
    wait_until(lambda: ended(fleet, batch_id) >= 10, 30, "some ends")
    fleet.workers[0].kill()
    fleet.workers[0].start()
    first = check(fleet, batch_id)
    assert first["counts"]["failed"] > 0 and float(first["cost"]["usd"]) > 0 and first["usage"]["cached_input_tokens"] > 0
    assert first["cost"]["unknown_jobs"] >= 12

    script(fleet, error_rate=0.3, seed=4, cut_after_bytes=300, latency_ms=30)
    assert fleet.http().post(f"/v1/batches/{batch_id}/retry").status == 202
    wait_until(lambda: ended(fleet, batch_id) > 60 - first["counts"]["failed"], 30, "some ends")
    fleet.workers[1].kill()
    fleet.workers[1].start()
    second = check(fleet, batch_id)
    assert second["usage"]["output_tokens"] > first["usage"]["output_tokens"]

    script(fleet)
    while second["counts"]["failed"]:
        fleet.http().post(f"/v1/batches/{batch_id}/retry")
        second = check(fleet, batch_id)
    assert second["counts"]["succeeded"] == 60
    assert wait_until(lambda: fleet.sql("select count(*) from batch_delta") == [(0,)], 10, "the fold")
    check(fleet, batch_id)


def test_what_was_spent_before_a_cancel_stays_counted(fleet):
    """Jobs are canceled that wait for another try, that run, and that never ran; then some come back."""
    script(fleet, every=2, cut_after_bytes=300, latency_ms=150)
    for process in fleet.workers:
        process.reconfigure({"retry": {"base": "30s", "max": "60s"}})
        wait_until(lambda: "reloaded" in process.log_tail(200), 10, "the new configuration")
    batch_id = submit(fleet, 80)
    waits = "select j.id::text from parked p join job j on j.id = p.job_id where j.route = 'default'"
    waiting = wait_until(lambda: len(found := fleet.sql(waits)) >= 5 and found, 30, "jobs that wait for another try")[0][0].replace("-", "")
    assert fleet.http().post(f"/v1/jobs/job_{waiting}/cancel").json["cost"]["usd"] > "0.000000"
    fleet.http().post(f"/v1/batches/{batch_id}/cancel")
    b = check(fleet, batch_id)
    assert b["status"] == "canceled" and b["counts"]["canceled"] > 5 and b["usage"]["output_tokens"] > 0
    fleet.http().post(f"/v1/jobs/job_{waiting}/retry")
    fleet.wait_for(f"job_{waiting}", ("succeeded", "failed", "queued"))
    fleet.http().post(f"/v1/batches/{batch_id}/cancel")
    check(fleet, batch_id)


def test_what_was_spent_before_the_deadline_stays_counted(fleet):
    script(fleet, cut_after_bytes=300)
    for process in fleet.workers:
        process.reconfigure({"retry": {"base": "30s", "max": "60s"}})
        wait_until(lambda: "reloaded" in process.log_tail(200), 10, "the new configuration")
    batch_id = submit(fleet, 10)
    wait_until(lambda: fleet.sql("select count(*) from parked") == [(10,)], 30, "jobs that wait for another try")
    fleet.sql("update parked set expires_at = now()")
    b = check(fleet, batch_id)
    assert b["counts"]["expired"] == 10 and b["usage"]["input_tokens"] > 0 and b["cost"]["unknown_jobs"] == 2
