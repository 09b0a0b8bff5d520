# SPDX-License-Identifier: Apache-2.0
"""A provider that fails, seen from its side: how many calls it gets, when, and from how many workers at once."""

import json
import time
from collections import Counter

import pytest

from stack import TERMINAL, wait_until

BACK = {"retry": {"base": "20ms", "max": "200ms", "budget_min": 1000000}}  # back soon; the breaker, not the backoff, is what holds


def calls_of(stack, model=None):
    calls = stack.simulator.http().get("/_control/calls?limit=100000").json["calls"]
    return sorted((c for c in calls if model in (None, c["model"])), key=lambda c: (c["at_ms"], c["seq"]))


def events_of(stack, *kinds):
    """[(kind, ms of the wall clock)] of target a."""
    rows = stack.sql("select kind, extract(epoch from at) * 1000 from target_event where name = 'a' order by id")
    return [(kind, float(at)) for kind, at in rows if not kinds or kind in kinds]


def submit_all(stack, n, **fields):
    return [stack.submit(f"tag:j{i} hello {i}", **fields)["id"] for i in range(n)]


def test_it_opens_after_five_failures_and_one_probe_at_a_time_closes_it(routed):
    stack = routed({"a": {}}, {"default": {"targets": ["a"]}}, {"a": {"fail_first": 25, "error_status": 500, "latency_ms": 40}}, workers=3,
                   breaker={"open": "300ms", "open_max": "300ms"}, job={"max_attempts": 20}, **BACK)
    # The first alone, so that five failures are in a row and not sixty at once.
    first = stack.submit("tag:first hello")["id"]
    wait_until(lambda: events_of(stack, "opened"), 20, "the breaker being open", step=0.005)
    jobs = submit_all(stack, 40)
    seen = wait_until(lambda: [q for q in (stack.get(j)["queue"] for j in jobs) if q and q["waiting_for"] == "target_unavailable"], 20, "a job that waits")
    assert seen[0]["estimated_start_at"] is not None
    ended = [stack.wait_for(j, TERMINAL, 60) for j in [first, *jobs]]
    assert Counter(j["status"] for j in ended) == {"succeeded": 41}

    calls, happened = calls_of(stack), events_of(stack, "opened", "closed")
    assert Counter(c["status"] for c in calls) == {500: 25, 200: 41}
    opened, closed = [at for kind, at in happened if kind == "opened"], [at for kind, at in happened if kind == "closed"]
    assert len(closed) == 1 and happened[-1][0] == "closed", happened
    assert len([c for c in calls if c["at_ms"] < opened[0]]) == 5, "it opens after five"
    held = [c for c in calls if opened[0] <= c["at_ms"] <= closed[0]]
    assert [c["status"] for c in held] == [500] * 20 + [200] * 3, "probes: twenty that fail, three that close it"
    # One at a time in the whole fleet, and none while it is open (300 ms less a tenth; clocks of one machine, cut to ms).
    for before, after in zip(held, held[1:]):
        assert after["at_ms"] >= before["end_ms"], (before, after)
    for at in opened:
        assert not [c for c in calls if at + 5 < c["at_ms"] < at + 265], f"a call while it was open, since {at}"
    assert len(opened) == 21 and len({json.loads(d)["worker"] for d, in stack.sql("select detail from target_event where kind = 'half_open'")}) > 1


@pytest.mark.parametrize("seconds", [6, 20])
def test_a_rate_limited_target_is_left_alone_by_all_workers_until_the_time(routed, seconds):
    stack = routed({"a": {}, "b": {}}, {"alone": {"targets": ["a"]}, "pair": {"targets": ["a", "b"]}},
                   {"a": {"fail_first": 1, "error_class": "rate_limit", "retry_after": seconds}}, workers=3, job={"max_attempts": 1})
    first = stack.submit("tag:first hello", route="alone")["id"]
    refused = wait_until(lambda: calls_of(stack, "a"), 10, "the refused call")[0]
    # The others know by a notice within milliseconds, and by their own look within a second.
    wait_until(lambda: stack.sql("select 1 from target_event where kind = 'parked' and now() > at + interval '1.3 seconds'"), 10, "all knowing of it")
    # What has no other target waits, and says why; the pair's other one serves at once.
    alone = submit_all(stack, 20, route="alone")
    queue = wait_until(lambda: [q for q in (stack.get(j)["queue"] for j in alone) if q and q["waiting_for"] == "rate_limit"], 10, "a job that waits")
    assert queue[0]["estimated_start_at"] is not None
    pair = submit_all(stack, 20, route="pair")
    assert {stack.wait_for(j)["served_by"]["target"] for j in pair} == {"b"}
    for job in (stack.wait_for(j, TERMINAL, seconds + 30) for j in [first, *alone]):
        # One attempt is all that they have: the refusal was none.
        assert job["status"] == "succeeded" and job["attempts"] == 1 and job["served_by"]["target"] == "a", job
    calls = calls_of(stack, "a")
    assert Counter(c["status"] for c in calls) == {429: 1, 200: 21}, "one call more than jobs"
    early = [c for c in calls[1:] if c["at_ms"] < refused["end_ms"] + seconds * 1000]
    assert calls[0]["status"] == 429 and not early, early
    assert Counter(c["tag"] for c in calls) == {"first": 2, **{f"j{i}": 1 for i in range(20)}}


def test_one_number_bounds_the_calls_of_a_job_whatever_makes_them(routed):
    too_long = {"error_status": 400, "error_body": {"error": {"message": "too long", "code": "context_length_exceeded"}}}
    stack = routed({t: {} for t in ("a", "b", "short", "big")},
                   {"one": {"targets": ["a"]}, "two": {"targets": ["a", "b"]}, "larger": {"targets": ["short", "a"], "context_window": ["big"]},
                    "mixed": {"targets": ["a", "short", "b"], "context_window": ["big", "b"]}},
                   {"a": {"error_status": 500}, "b": {"cut_after_bytes": 40}, "short": too_long, "big": {"error_status": 503}},
                   workers=2, breaker={"enabled": False}, job={"max_attempts": 3}, **BACK)
    routes = ("one", "two", "larger", "mixed")
    jobs = {(route, i): stack.submit(f"tag:{route}{i} hello", route=route)["id"] for route in routes for i in range(10)}
    for key, job_id in jobs.items():
        job = stack.wait_for(job_id, TERMINAL, 40)
        assert job["status"] == "failed" and job["attempts"] == 3, (key, job)
    assert Counter(c["tag"] for c in calls_of(stack)) == {f"{route}{i}": 3 for route, i in jobs}


def test_a_retry_budget_bounds_what_a_failing_target_is_asked_again(routed):
    n, least, percent = 150, 10, 20
    stack = routed({"a": {}}, {"default": {"targets": ["a"]}}, {"a": {"error_status": 500, "latency_ms": 20}}, workers=3,
                   breaker={"enabled": False}, job={"max_attempts": 20}, retry={"base": "20ms", "max": "1s", "budget": percent, "budget_min": least})
    began = time.time()
    submit_all(stack, n)

    def counts():
        tags = Counter(c["tag"] for c in calls_of(stack))
        return len(tags), sum(tags.values())

    wait_until(lambda: counts()[0] == n, 20, "all first calls")
    # Longer than any backoff: what may be tried again was.
    wait_until(lambda: time.time() > began + 8, 10, "eight seconds")
    first, calls = counts()
    # Retries are calls, too: r of n + r. The minimum is for what each worker does before it hears of the others.
    most = n * percent // (100 - percent) + least
    assert least <= calls - first <= most, (first, calls, most)
    assert stack.sql("select count(*) from outcome") == [(0,)], "nobody failed for it"
