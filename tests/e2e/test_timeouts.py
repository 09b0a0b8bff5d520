# SPDX-License-Identifier: Apache-2.0
"""What a slow provider costs: a late first token leads to the next target at once, and a total time that is over with text in hand gives that text
where the job takes it, else a failed attempt that is counted at an estimate."""

from stack import wait_until

ENDED = ("succeeded", "failed")
TEXT = "".join(f"word{i:04d} " for i in range(500))
SLOW_TEXT = {"answer": TEXT, "chunk_bytes": 9, "between_ms": 40}  # 20 s in all


def attempts_of(stack, job_id):
    return stack.http().get(f"/v1/jobs/{job_id}/attempts").json["data"]


def calls_of(stack):
    calls = stack.simulator.http().get("/_control/calls").json["calls"]
    return sorted(calls, key=lambda c: c["at_ms"])


def test_a_late_first_token_leads_to_the_next_target_at_once(routed):
    # Were it a retry, the backoff would be up to a minute; and the slow one would be waited for ten.
    stack = routed({"headless": {"timeout": {"first_token": "300ms"}}, "silent": {"timeout": {"first_token": "300ms"}}, "b": {}},
                   {"headless": {"targets": ["headless", "b"]}, "silent": {"targets": ["silent", "b"]}},
                   {"headless": {"hang": True}, "silent": {"first_token_ms": 600_000}, "b": {"answer": "in time"}},
                   retry={"base": "60s", "max": "60s"})
    for first in ("headless", "silent"):
        job = stack.wait_for(stack.submit(route=first)["id"], ENDED)
        assert job["status"] == "succeeded" and job["served_by"]["target"] == "b" and job["served_by"]["level"] == "fallback", job
        assert job["result"]["choices"][0]["message"]["content"] == "in time"
        rows = attempts_of(stack, job["id"])
        assert [(r["target"], r["code"]) for r in rows] == [(first, "outcome_unknown"), ("b", "ok")], rows
        assert rows[0]["next"] == "the next target of the route"
    assert [c["model"] for c in calls_of(stack)] == ["headless", "b", "silent", "b"]
    # A call that nobody waits for any more is not left to run on at the provider.
    wait_until(lambda: [c["canceled"] for c in calls_of(stack)] == [True, False, True, False], 10, "the slow calls being canceled")


def slow(routed, **route):
    return routed({"a": {"timeout": {"total": "2500ms"}}}, {"default": {"targets": ["a"], **route}}, {"a": SLOW_TEXT}, job={"max_attempts": 1})


def test_what_came_is_served_as_partial_where_the_job_takes_it(routed):
    stack = slow(routed)
    job = stack.wait_for(stack.submit({"messages": [{"role": "user", "content": "x"}], "max_tokens": 4000}, accept_partial=True)["id"], ENDED)
    assert job["status"] == "succeeded" and job["result"]["partial"] is True, job
    text = job["result"]["choices"][0]["message"]["content"]
    assert 0 < len(text) < len(TEXT) and TEXT.startswith(text)
    assert job["usage"]["estimated"] is True and job["usage"]["output_tokens"] > 0 and float(job["cost"]["usd"]) > 0
    assert len(calls_of(stack)) == 1
    rows = attempts_of(stack, job["id"])
    assert len(rows) == 1 and rows[0]["code"] == "stream_interrupted" and rows[0]["partial"] is True, rows


def test_without_that_it_is_a_failed_attempt_that_is_billed_by_estimate(routed):
    stack = slow(routed, accept_partial=True)  # the job's own word goes first
    job = stack.wait_for(stack.submit({"messages": [{"role": "user", "content": "x"}], "max_tokens": 4000}, accept_partial=False)["id"], ENDED)
    assert job["status"] == "failed" and job["error"]["code"] == "stream_interrupted" and job["result"] is None, job
    assert job["usage"]["estimated"] is True and job["usage"]["input_tokens"] > 0 and job["usage"]["output_tokens"] > 0
    assert float(job["cost"]["usd"]) > 0
    rows = attempts_of(stack, job["id"])
    assert len(rows) == 1 and rows[0]["usage"]["estimated"] is True, rows


def test_the_route_may_say_it_for_its_jobs(routed):
    stack = slow(routed, accept_partial=True)
    job = stack.wait_for(stack.submit()["id"], ENDED)
    assert job["status"] == "succeeded" and job["result"]["partial"] is True


def test_no_text_is_no_partial_answer(routed):
    stack = routed({"a": {"timeout": {"total": "700ms", "first_token": "30s"}}}, {"default": {"targets": ["a"], "accept_partial": True}},
                   {"a": {"first_token_ms": 600_000}}, job={"max_attempts": 1})
    job = stack.wait_for(stack.submit()["id"], ENDED)
    assert job["status"] == "failed" and job["result"] is None, job
    assert job["usage"]["estimated"] is True
