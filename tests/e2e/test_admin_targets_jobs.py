# SPDX-License-Identifier: Apache-2.0
"""What an operator's orders to targets do to jobs: a pause, a drain, and the reset of an open breaker."""

from stack import wait_until


def get(stack, name):
    return stack.admin().get(f"/admin/v1/targets/{name}").json


def order(stack, verb, name):
    answer = stack.admin().post(f"/admin/v1/targets/{name}/{verb}")
    assert answer.status == 200, answer
    return answer.json


def script(stack, **rules):
    answer = stack.simulator.http().post("/_control", {"reset": True, "models": {"sim-extract": rules}})
    assert answer.status == 200, answer


def calls(stack):
    return stack.simulator.http().get("/_control/stats").json["calls"]


def waits_for(stack, job):
    return (stack.get(job["id"])["queue"] or {}).get("waiting_for")


def submit_until_one_waits(stack):
    """Workers hear of an order a moment later: jobs are submitted until one waits for the target, which is returned; the others have run."""

    def one_waits():
        job = stack.submit("probe")
        wait_until(lambda: stack.get(job["id"])["status"] == "succeeded" or waits_for(stack, job) == "target_unavailable", 20, "its end, or its waiting")
        return job if waits_for(stack, job) == "target_unavailable" else None

    return wait_until(one_waits, 30, "a job that waits for the target")


def test_a_paused_target_gets_no_calls_and_its_jobs_run_when_it_is_resumed(stack):
    stack.wait_for(stack.submit()["id"])
    order(stack, "pause", "sim")
    first = submit_until_one_waits(stack)
    before = calls(stack)
    jobs = [first] + [stack.submit(f"{n}") for n in range(5)]
    wait_until(lambda: all(waits_for(stack, j) == "target_unavailable" for j in jobs), 15, "all jobs waiting for the target")
    assert calls(stack) == before
    order(stack, "resume", "sim")
    stack.wait_for_all([j["id"] for j in jobs], limit=30)
    assert calls(stack) == before + 6


def test_a_draining_target_ends_its_series_and_takes_no_new_jobs(stack):
    script(stack, latency_ms=2000, fail_first=1)
    old = stack.submit("old")
    wait_until(lambda: calls(stack) == 1, 10, "the first call, which will fail")
    order(stack, "drain", "sim")
    new = submit_until_one_waits(stack)
    assert stack.wait_for(old["id"], limit=30)["attempts"] == 2
    assert waits_for(stack, new) == "target_unavailable" and stack.get(new["id"])["attempts"] == 0
    order(stack, "resume", "sim")
    stack.wait_for(new["id"], limit=30)


def test_a_reset_closes_an_open_breaker_at_once(make_stack):
    stack = make_stack(workers=2, config={"breaker": {"failures": 3, "open": "5m", "open_max": "5m"}})
    script(stack, error_rate=1.0)
    jobs = [stack.submit(f"{n}", max_attempts=20) for n in range(3)]
    wait_until(lambda: get(stack, "sim")["breaker"]["state"] == "open", 20, "the breaker opening")
    target = get(stack, "sim")
    opened = [e for e in target["events"] if e["kind"] == "opened"]
    assert len(opened) == 1 and opened[0]["detail"]["class"] and target["breaker"]["reopen_at"] > target["breaker"]["opened_at"]
    wait_until(lambda: get(stack, "sim")["last_ten_minutes"]["failures"] >= 3, 10, "the failures being reported")
    script(stack)
    assert order(stack, "reset", "sim")["breaker"]["state"] == "closed"
    stack.wait_for_all([j["id"] for j in jobs], limit=60)
    wait_until(lambda: get(stack, "sim")["last_ten_minutes"]["answered"] == 3, 10, "the answers being reported")
