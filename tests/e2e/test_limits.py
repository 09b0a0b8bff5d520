# SPDX-License-Identifier: Apache-2.0
"""What a fleet sends stays within limits, seen from the provider: in every sliding minute and at every moment, also while workers are killed, frozen and
started again; and what was lost by that comes back."""

import json
import math
import time
from collections import Counter

from stack import TERMINAL, Http, create_key, wait_until

ENDED = ("succeeded", "failed")
ANSWER = "word " * 100


def calls_of(stack, model=None):
    calls = stack.simulator.http().get("/_control/calls?limit=100000").json["calls"]
    return sorted((c for c in calls if model in (None, c["model"])), key=lambda c: (c["at_ms"], c["seq"]))


def at_once(calls):
    """The most of these calls that were in flight together."""
    most = now = 0
    for _, step in sorted([(c["at_ms"], 1) for c in calls] + [(c["end_ms"] or math.inf, -1) for c in calls]):
        now += step
        most = max(most, now)
    return most


def submit_lines(stack, *lots):
    """Many jobs in one batch: (how many, route, max_tokens) each."""
    lines = [json.dumps(stack.body({"messages": [{"role": "user", "content": f"tag:{route} {i}"}], "max_tokens": tokens}, route=route))
             for n, route, tokens in lots for i in range(n)]
    answer = stack.http().post("/v1/jobs", "\n".join(lines).encode(), headers={"Content-Type": "application/x-ndjson"})
    assert answer.status in (200, 201, 202), answer


class Watch:
    """Looks at the fleet every quarter second while time passes: how many jobs of each route its workers hold."""

    def __init__(self, stack, routes):
        self.stack, self.routes, self.began, self.most = stack, routes, time.time(), Counter()
        self.windows = {}

    def look(self):
        for route, n in self.stack.sql("select l.name, count(*) from lease join lane l on l.id = lease.lane group by 1"):
            self.most[route] = max(self.most[route], n)

    def until(self, seconds):
        """So many seconds since the beginning."""
        while time.time() < self.began + seconds:
            self.look()
            time.sleep(0.25)


def test_no_minute_and_no_moment_holds_more_than_the_limit_whatever_happens_to_workers(routed):
    limits = {"requests": {"requests": 60, "headroom": 1.0}, "usual": {"requests": 60}, "tokens": {"tokens": 6000, "headroom": 1.0},
              "calls": {"concurrency": 4, "headroom": 1.0}}
    # A call of `tokens` takes 60 or so of them; one of `calls` 0.4 s. What a killed worker held is counted for timeout.total after its lease.
    stack = routed({name: {"limits": members} for name, members in limits.items()}, {name: {"targets": [name]} for name in limits},
                   {"*": {"answer": ANSWER}, "calls": {"latency_ms": 400}, "requests": {"latency_ms": 100}}, workers=3, job={"max_interruptions": 100},
                   timeout={"total": "5s"})
    submit_lines(stack, (200, "requests", 50), (200, "usual", 50), (400, "tokens", 50), (1500, "calls", 50))
    waiting, = stack.sql("select j.id::text from job j join lane l on l.id = j.lane where l.name = 'requests' order by j.id desc limit 1")[0]
    watch = Watch(stack, limits)
    workers = stack.workers

    queue = wait_until(lambda: [q for q in [stack.get("job_" + waiting.replace("-", ""))["queue"]] if q and q["waiting_for"] == "rate_limit"], 20,
                       "a waiting job saying that it waits for the limit")
    assert queue[0]["estimated_start_at"] is not None

    watch.until(10)
    workers[0].kill()
    watch.until(12)
    workers[0].start()
    watch.until(18)
    workers[1].stop()  # for longer than its leases live
    watch.until(24)
    workers[1].cont()
    watch.until(30)
    workers[2].kill()
    workers[2].start()
    watch.until(38)
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.start()
    watch.until(78)

    control = stack.simulator.http()
    windows = {name: control.get(f"/_control/windows?seconds=60&model={name}").json for name in limits}
    assert windows["requests"]["requests"] <= 60 and windows["usual"]["requests"] <= 48, windows
    assert windows["tokens"]["tokens"] <= 6000, windows["tokens"]
    assert windows["calls"]["in_flight"] <= 4, windows["calls"]

    # Afterwards nothing is missing. Of a minute's limit 60/63 can be used: of the last thirty seconds 28.6, 22.9 and 2857.
    since = (time.time() - 30) * 1000
    late = {name: [c for c in calls_of(stack, name) if c["at_ms"] >= since] for name in limits}
    rates = {"requests": len(late["requests"]), "usual": len(late["usual"]), "tokens": sum(c["input_tokens"] + c["output_tokens"] for c in late["tokens"]),
             "calls": len(late["calls"]), "at once": at_once(late["calls"])}
    # Two thirds of that leave room for a busy machine; what leaked would be missing whole.
    assert rates["requests"] >= 0.66 * 28.6 and rates["usual"] >= 0.66 * 22.9 and rates["tokens"] >= 0.66 * 2857, (rates, windows)
    assert rates["at once"] >= 4 and rates["calls"] >= 0.5 * 30 / 0.4 * 4, (rates, windows)
    # Nobody sits on jobs that cannot start: of 768 slots a few, those of killed workers included.
    assert all(n <= 40 for n in watch.most.values()), watch.most


def test_a_users_limit_holds_while_another_user_goes_on(routed):
    stack = routed({"a": {}}, {"default": {"targets": ["a"]}}, workers=3, tiers={"trickle": {"requests": 6}}, rates={"users": {"slow": "trickle"}})
    slow = [stack.submit(f"tag:slow {i}", user="slow")["id"] for i in range(20)]
    free = [stack.submit(f"tag:free {i}", user="free")["id"] for i in range(20)]
    stack.wait_for_all(free)
    wait_until(lambda: [q for q in (stack.get(j)["queue"] for j in slow) if q and q["waiting_for"] == "rate_limit"], 20, "a job that waits for the limit")
    tags = Counter(c["tag"] for c in calls_of(stack))
    assert tags["free"] == 20 and 1 <= tags["slow"] <= 6, tags
    # Without a limit the others go on; the same user's waiting jobs do not have to be over for that.
    stack.wait_for_all([stack.submit(f"tag:free {i}", user="free")["id"] for i in range(20)])


def test_a_tenants_limit_holds_while_another_tenant_goes_on(routed):
    stack = routed({"a": {}}, {"default": {"targets": ["a"]}}, {"a": {"latency_ms": 250}}, workers=3, tiers={"narrow": {"concurrency": 2}},
                   rates={"tenants": {"acme": "narrow"}})
    acme = Http(stack.url, create_key(stack.db, "acme's", tenant="acme"))
    theirs = [acme.post("/v1/jobs", stack.body(f"tag:acme {i}")).json["id"] for i in range(20)]
    stack.wait_for_all([stack.submit(f"tag:free {i}")["id"] for i in range(20)])
    wait_until(lambda: all(acme.get(f"/v1/jobs/{j}").json["status"] == "succeeded" for j in theirs), 40, "the narrow tenant's jobs", step=0.2)
    calls = calls_of(stack)
    assert at_once([c for c in calls if c["tag"] == "acme"]) == 2
    assert at_once([c for c in calls if c["tag"] == "free"]) > 2


def test_at_the_limit_a_route_may_go_to_the_next_target(routed):
    limits = {"requests": 120, "headroom": 1.0}  # four at once, two a second
    stack = routed({"a": {"limits": limits}, "b": {}}, {"default": {"targets": ["a", "b"], "on_limit": "fallback"}}, workers=3)
    jobs = stack.wait_for_all([stack.submit(f"hello {i}")["id"] for i in range(60)], limit=20)
    count = Counter(j["served_by"]["target"] for j in jobs)
    assert count["b"] >= 1 and all(j["attempts"] == 1 for j in jobs), count
    # Nobody waited for the minute to be over; and the first target is not forgotten when it has room again.
    wait_until(lambda: stack.wait_for(stack.submit("again")["id"])["served_by"]["target"] == "a", 20, "the first target serving again", step=0.3)
    assert stack.simulator.http().get("/_control/windows?seconds=60&model=a").json["requests"] <= 120


def test_at_the_limit_a_route_may_shorten_the_answer_down_to_its_floor(routed):
    limits = {"tokens": 12000, "headroom": 1.0}  # 400 at once, 190 a second
    stack = routed({"a": {"limits": limits, "provider": "anthropic"}}, {"default": {"targets": ["a"], "on_limit": "shorten", "shorten_floor": 100}},
                   {"a": {"answer": ANSWER * 25}})
    jobs = [stack.submit({"messages": [{"role": "user", "content": f"hello {i}"}], "max_tokens": 2000})["id"] for i in range(5)]
    for job in (stack.wait_for(j, ENDED, 40) for j in jobs):
        assert job["status"] == "succeeded" and job["result"]["choices"][0]["finish_reason"] == "length", job
    lengths = [c["output_tokens"] for c in calls_of(stack, "a")]
    assert len(lengths) == 5 and min(lengths) >= 100 and max(lengths) <= 400, lengths


def test_what_is_larger_than_the_whole_limit_goes_elsewhere_or_fails_at_once(routed):
    stack = routed({"small": {"limits": {"tokens": 300, "headroom": 1.0}}, "big": {}}, {"alone": {"targets": ["small"]}, "pair": {"targets": ["small", "big"]}})
    request = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 500}
    alone = stack.wait_for(stack.submit(request, route="alone")["id"], TERMINAL)
    assert alone["status"] == "failed" and alone["error"]["code"] == "too_large_for_limit" and "tokens" in alone["error"]["message"], alone
    assert stack.wait_for(stack.submit(request, route="pair")["id"])["served_by"]["target"] == "big"
    assert calls_of(stack, "small") == []


def test_what_a_killed_worker_held_is_free_at_once_on_its_own_host(routed):
    stack = routed({"one": {"limits": {"concurrency": 1, "headroom": 1.0}, "timeout": {"total": "10m"}}}, {"one": {"targets": ["one"]}},
                   {"one": {"latency_ms": 60000}}, queue={"lease": "10m", "heartbeat": "500ms", "rescue": "500ms"})
    job = stack.submit("hello", route="one")
    wait_until(lambda: calls_of(stack, "one"), 10, "the call that never ends")
    stack.workers[0].kill()
    stack.simulator.http().post("/_control", {"models": {"one": {"latency_ms": 0}}})
    stack.workers[0].start()
    done = stack.wait_for(job["id"], limit=30)
    assert done["status"] == "succeeded" and len(calls_of(stack, "one")) == 2
    assert stack.sql("select state from worker order by started_at limit 1") == [(2,)]
