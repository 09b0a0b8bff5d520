# SPDX-License-Identifier: Apache-2.0
"""Which target a call goes to, why, and what is served when no target can: rules, ways of choosing, what does not fit, the ladder."""

import json
from collections import Counter

from faults import calls, script

ENDED = ("succeeded", "failed", "canceled", "expired")


def end_of(stack, request="hello", limit=30, **fields):
    return stack.wait_for(stack.submit(request, **fields)["id"], ENDED, limit)


def served(job):
    return (job["served_by"]["level"], job["served_by"]["target"])


def choices(stack):
    return [json.loads(r[0]) for r in stack.sql("select choice from attempt where choice is not null order by started_at")]


def test_ordered_takes_the_first_and_says_what_it_left_out(routed):
    stack = routed({"a": {"can": [], "cannot": ["tools"]}, "b": {}, "c": {}}, {"default": {"targets": ["a", "b", "c"]}})
    assert served(end_of(stack)) == ("primary", "a")
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    job = end_of(stack, {"messages": [{"role": "user", "content": "x"}], "tools": tools})
    assert served(job) == ("fallback", "b")
    last = choices(stack)[-1]
    assert last["reason"] == "the route: ordered"
    assert [c["target"] for c in last["candidates"]] == ["a", "b", "c"]
    assert last["candidates"][0]["left_out"] == "does not take tools" and "left_out" not in last["candidates"][1]


def test_weighted_follows_the_weights(routed):
    stack = routed({"a": {}, "b": {}}, {"default": {"targets": [{"target": "a", "weight": 4}, "b"], "choose": "weighted"}})
    jobs = [stack.submit(f"q{i}") for i in range(200)]
    count = Counter(j["served_by"]["target"] for j in stack.wait_for_all([j["id"] for j in jobs]))
    assert 130 <= count["a"] <= 185, count  # 160 expected; seven standard deviations either way
    assert {c["reason"] for c in choices(stack)} == {"the route: weighted"}


def test_least_cost_takes_the_cheapest_for_this_request(routed):
    stack = routed({"reads": {"price": {"input": "1", "output": "50"}}, "writes": {"price": {"input": "10", "output": "1"}}},
                   {"default": {"targets": ["reads", "writes"], "choose": "least_cost"}})
    long_question = end_of(stack, {"messages": [{"role": "user", "content": "word " * 4000}], "max_tokens": 10})
    long_answer = end_of(stack, {"messages": [{"role": "user", "content": "x"}], "max_tokens": 4000})
    assert served(long_question) == ("primary", "reads") and served(long_answer) == ("primary", "writes")
    assert all(c["score"] > 0 for c in choices(stack)[0]["candidates"])


def test_rules_go_by_metadata_size_need_and_user(routed):
    rules = [{"name": "invoices", "when": {"metadata": {"feature": "inv*"}}, "targets": ["a"]},
             {"name": "vips", "when": {"users": ["alice"]}, "targets": ["b"]},
             {"name": "long", "when": {"input_tokens": {"min": 1000}}, "targets": ["c"]},
             {"name": "tools", "when": {"needs": ["tools"]}, "targets": ["d"]},
             {"name": "later", "when": {"latency": "batch"}, "targets": ["e"]}]
    stack = routed({t: {} for t in "abcdef"}, {"default": {"targets": ["f"], "rules": rules}})
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert served(end_of(stack, metadata={"feature": "invoices"})) == ("primary", "a")
    assert served(end_of(stack, user="alice")) == ("primary", "b")
    assert served(end_of(stack, "word " * 2000)) == ("primary", "c")
    assert served(end_of(stack, {"messages": [{"role": "user", "content": "x"}], "tools": tools})) == ("primary", "d")
    assert served(end_of(stack, priority=9)) == ("primary", "e")
    assert served(end_of(stack)) == ("primary", "f")
    assert {c["reason"] for c in choices(stack)} == {f"rule {r}: ordered" for r in ("invoices", "vips", "long", "tools", "later")}


def test_a_rule_keeps_what_it_holds_for_in_its_places(routed):
    """On every way: the route's targets, the larger model for a context that is too small, the ladder's model."""
    targets = {"us": {"place": "us", "context_tokens": 3000}, "eu": {"place": "eu", "context_tokens": 3000}, "anywhere": {},
               "large-us": {"place": "us"}, "large-eu": {"place": "eu"}}
    rules = [{"name": "at home", "when": {"metadata": {"tenant_region": "eu"}}, "places": ["eu", "ch"]}]
    stack = routed(targets, {"default": {"targets": ["us", "anywhere", "eu"], "rules": rules, "context_window": ["large-us", "large-eu"],
                                         "ladder": ["simple_model"], "ladder_after": "0s", "simple_model": "large-us"}})
    assert served(end_of(stack)) == ("primary", "us")
    home = {"metadata": {"tenant_region": "eu"}}
    assert served(end_of(stack, **home))[1] == "eu"
    left = {c["target"]: c.get("left_out") for c in choices(stack)[-1]["candidates"]}
    assert left == {"us": "it is in another place", "anywhere": "it is in another place", "eu": None}
    script(stack, model="eu", error_status=400, error_body={"error": {"message": "too long", "code": "context_length_exceeded"}})
    assert served(end_of(stack, **home)) == ("fallback", "large-eu")
    script(stack, model="large-eu", error_status=400, error_body={"error": {"message": "too long", "code": "context_length_exceeded"}})
    assert end_of(stack, **home)["status"] == "failed"
    assert {c["model"] for c in calls(stack)} == {"us", "eu", "large-eu"}


def test_the_same_front_goes_to_the_same_target(routed):
    stack = routed({t: {} for t in "abcd"}, {"default": {"targets": list("abcd"), "choose": "weighted", "affinity": True}}, workers=2)
    fronts = {}
    jobs = []
    for i in range(40):
        request = {"messages": [{"role": "system", "content": f"You are assistant number {i % 8}."}, {"role": "user", "content": f"q{i}"}]}
        jobs.append((i % 8, stack.submit(request)["id"]))
    for front, job in jobs:
        fronts.setdefault(front, set()).add(stack.wait_for(job)["served_by"]["target"])
    assert all(len(t) == 1 for t in fronts.values()), fronts
    assert len(set().union(*fronts.values())) > 1, fronts


def test_a_context_that_is_too_small_goes_to_the_larger_model(routed):
    error = {"error": {"message": "too long", "code": "context_length_exceeded"}}
    stack = routed({"small": {}, "big": {}}, {"default": {"targets": ["small"], "context_window": ["big"]}},
                   {"small": {"error_status": 400, "error_body": error}})
    job = end_of(stack)
    assert served(job) == ("fallback", "big") and job["attempts"] == 2


def test_a_context_that_is_known_to_be_too_small_is_not_asked(routed):
    known = routed({"small": {"context_tokens": 1000}, "big": {"context_tokens": 100000}}, {"default": {"targets": ["small", "big"]}})
    assert served(end_of(known, "word " * 4000)) == ("fallback", "big")
    assert served(end_of(known)) == ("primary", "small")


def test_a_content_filter_goes_where_the_route_says(routed):
    stack = routed({"strict": {}, "lenient": {}}, {"default": {"targets": ["strict"], "content_policy": ["lenient"]}},
                   {"strict": {"answer": "x", "finish_reason": "content_filter"}})
    assert served(end_of(stack)) == ("fallback", "lenient")


DOWN = {"error_status": 500}


def test_each_rung_serves_in_its_turn_and_recovery_goes_back_to_the_top(routed):
    ladder = {"targets": ["main"], "ladder": ["stale_cache", "simple_model", "static"], "simple_model": "small", "static": "We are busy.",
              "cache": {"mode": "exact", "ttl": "1s"}}
    stack = routed({"main": {}, "small": {}}, {"default": ladder}, job={"max_attempts": 2})
    control = stack.simulator.http()
    assert served(end_of(stack, "known question")) == ("primary", "main")
    stack.sql("update cache_entry set expires_at = now() - interval '1 second'")
    control.post("/_control", {"models": {"main": DOWN}})
    job = end_of(stack, "known question")
    assert served(job) == ("stale_cache", "main") and job["served_by"]["cached"] is True
    job = end_of(stack, "new question")
    assert served(job) == ("simple_model", "small") and job["attempts"] <= 2, "one cap, whatever made the calls"
    control.post("/_control", {"models": {"small": DOWN}})
    job = end_of(stack, "another new question")
    assert served(job) == ("static", "static")
    assert job["result"]["choices"][0]["message"]["content"] == "We are busy."
    control.post("/_control", {"models": {"main": None, "small": None}})
    deadline = 20
    while served(end_of(stack, f"back {deadline}")) != ("primary", "main"):
        deadline -= 1
        assert deadline > 0, "primary never came back"


def test_a_prepared_answer_is_found_by_its_words(routed):
    answers = [{"match": "refund money back", "text": "Refunds take five days."}, {"match": "opening hours open", "text": "We open at nine."},
               {"match": "", "text": "Please try again later."}]
    stack = routed({"main": {}}, {"default": {"targets": ["main"], "ladder": ["static"], "static": answers}, "own": {
        "targets": ["main"], "ladder": ["static"], "static": answers[:2]}}, {"main": DOWN}, job={"max_attempts": 1})

    def text(question, **more):
        job = end_of(stack, question, **more)
        return job["result"]["choices"][0]["message"]["content"] if job["result"] else job["error"]["code"]

    assert text("When do I get my money back, please?") == "Refunds take five days."
    assert text("At what time are you opening?") == "We open at nine."
    assert text("What is the capital of France?") == "Please try again later."
    assert text("What is the capital of France?", route="own") == "transient"


def test_a_job_may_refuse_the_ladder(routed):
    stack = routed({"main": {}}, {"default": {"targets": ["main"], "ladder": ["static"], "static": "no"}}, {"main": DOWN}, job={"max_attempts": 1})
    assert end_of(stack, on_exhausted="fail")["status"] == "failed"
    assert served(end_of(stack)) == ("static", "static")


def test_a_reload_changes_routes_for_new_jobs_and_disturbs_none(routed):
    stack = routed({"a": {}, "b": {}}, {"default": {"targets": ["a"]}}, {"a": {"latency_ms": 1500}})
    running = stack.submit("slow")
    stack.wait_for(running["id"], "running")
    for process in stack.apis + stack.workers:
        process.reconfigure({"routes": {"default": {"targets": ["b"]}}})
    deadline = 100
    while served(end_of(stack, f"next {deadline}"))[1] != "b":
        deadline -= 1
        assert deadline > 0, "the new route was never used"
    assert served(stack.wait_for(running["id"])) == ("primary", "a")
