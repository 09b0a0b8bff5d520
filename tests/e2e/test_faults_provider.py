# SPDX-License-Identifier: Apache-2.0
"""A provider that does everything wrong: each job ends as it should, its attempts say why, and the calls stay within max_attempts."""

import pytest

from faults import attempts, calls, in_flight, one_outcome_each, script
from stack import wait_until

HASTY = {"job": {"max_attempts": 3}, "retry": {"base": "5ms", "max": "20ms", "overload_base": "5ms", "overload_max": "20ms"}}
# Of those that are to run out of time; the others have all the time that a busy machine needs.
SHORT = {"first_token": "500ms", "between_tokens": "500ms", "total": "2s"}
ERROR_EVENT = 'data: {"error":{"message":"the engine broke","type":"server_error","code":null}}\n\n'
BEGUN = 'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"half an ans"}}]}\n\n'

# What the provider does, always; the class that each attempt says, how many calls there are, and a piece of the message.
BROKEN = {
    "hangs before its head": ({"hang": True}, "outcome_unknown", 3, "first token"),
    "says nothing after its head": ({"first_token_ms": 5000}, "outcome_unknown", 3, "first token"),
    "stops in the middle of a stream": ({"answer": "word " * 50, "between_ms": 2000, "chunk_bytes": 5}, "stream_interrupted", 3, ""),
    "never comes to its end": ({"answer": "word " * 500, "between_ms": 20, "chunk_bytes": 5}, "stream_interrupted", 3, ""),
    "leaves before its head": ({"cut_before_head": True}, "outcome_unknown", 3, ""),
    "resets before its head": ({"cut_before_head": True, "rst": True}, "outcome_unknown", 3, ""),
    "cuts after its head": ({"cut_after_bytes": 0}, "stream_interrupted", 3, ""),
    "cuts after a byte": ({"cut_after_bytes": 1}, "stream_interrupted", 3, ""),
    "cuts in the first event": ({"cut_after_bytes": 60}, "stream_interrupted", 3, ""),
    "cuts after some text": ({"answer": "word " * 100, "chunk_bytes": 10, "cut_after_bytes": 900}, "stream_interrupted", 3, ""),
    "resets after some text": ({"answer": "word " * 100, "chunk_bytes": 10, "cut_after_bytes": 900, "rst": True}, None, 3, ""),
    "answers with broken JSON": ({"garbage": True}, "stream_interrupted", 3, "end mark"),
    "answers with broken events": ({"garbage": "sse"}, "bad_output", 2, ""),
    "answers 200 with HTML": ({"error_status": 200, "error_body": "html"}, "stream_interrupted", 3, "end mark"),
    "answers 200 with nothing": ({"error_status": 200, "error_body": "empty"}, "stream_interrupted", 3, "end mark"),
    "answers 200 with an error object": ({"error_status": 200, "error_body": {"error": {"message": "the engine broke"}}},
                                         "transient", 3, "the engine broke"),
    "answers 200 with an array": ({"error_status": 200, "error_body": [1, 2]}, "bad_output", 2, ""),
    "answers 200 without choices": ({"error_status": 200, "error_body": {"choices": []}}, "bad_output", 2, "no choices"),
    "sends an error as its first event": ({"error_status": 200, "error_body": ERROR_EVENT}, "transient", 3, "the engine broke"),
    "sends an error after some text": ({"error_status": 200, "error_body": BEGUN + ERROR_EVENT}, "transient", 3, "the engine broke"),
    "ends a stream without its end mark": ({"error_status": 200, "error_body": BEGUN}, "stream_interrupted", 3, "end mark"),
    "answers more than may be kept": ({"answer": "too much " * 1000}, "bad_output", 2, ""),
    "answers more than may be kept, in pieces": ({"answer": "too much " * 1000, "chunk_bytes": 50}, "bad_output", 2, ""),
    "answers 400": ({"error_status": 400, "error_body": {"error": {"message": "no such parameter: x", "type": "invalid_request_error"}}},
                    "bad_request", 1, "no such parameter: x"),
    "answers 400 with HTML": ({"error_status": 400, "error_body": "html"}, "bad_request", 1, "status 400"),
    "answers 401": ({"error_status": 401}, "provider_auth", 1, ""),
    "answers 404": ({"error_status": 404}, "provider_not_found", 1, ""),
    "answers 500": ({"error_status": 500}, "transient", 3, ""),
    "answers 502 with HTML": ({"error_status": 502, "error_body": "html"}, "transient", 3, ""),
    "answers 503": ({"error_status": 503}, "provider_overloaded", 3, ""),
    "answers 529": ({"error_status": 529}, "provider_overloaded", 3, ""),
    "redirects": ({"error_status": 302, "error_body": "empty"}, "bad_request", 1, ""),
}

SLOW = ("hangs before its head", "says nothing after its head", "stops in the middle of a stream", "never comes to its end")


def test_whatever_a_provider_does_wrong_the_job_ends_and_says_why(make_stack):
    """One job for each way, all at the same time; the model's name is the way."""
    stack = make_stack(config=HASTY | {"limits": {"result_bytes": "4KiB"}}, start=False)
    for process in stack.apis + stack.workers:
        slow = {f"way-{n}": {**process.config["targets"]["sim"], "model": f"way-{n}", "timeout": SHORT} for n, name in enumerate(BROKEN) if name in SLOW}
        process.config["targets"].update(slow)
    stack.start()
    jobs = {}
    for n, (name, (rule, *_)) in enumerate(BROKEN.items()):
        script(stack, model=f"way-{n}", **rule)
    for n, name in enumerate(BROKEN):
        jobs[name] = stack.submit(f"tag:{n} hello", route=f"way-{n}")["id"]
    ended = {name: stack.wait_for(job, "failed", limit=40) for name, job in jobs.items()}
    wait_until(lambda: in_flight(stack) == 0, 10, "the ends of all calls")
    wrong = []
    for n, (name, (_, code, wanted, text)) in enumerate(BROKEN.items()):
        job, tried, made = ended[name], attempts(stack, jobs[name]), len(calls(stack, n))
        told = {"name": name, "error": job["error"], "attempts": [(a["code"], a["message"], a["next"]) for a in tried], "calls": made}
        if not (made == len(tried) == job["attempts"] <= 3):
            wrong.append({"counts": job["attempts"], **told})
        elif not all(a["next"] for a in tried) or not job["error"]["message"]:
            wrong.append({"silent": True, **told})
        elif code and {a["code"] for a in tried} | {job["error"]["code"]} != {code}:
            wrong.append({"code": code, **told})
        elif made != wanted or text not in job["error"]["message"]:
            wrong.append({"wanted": wanted, **told})
    assert not wrong, "\n".join(str(told) for told in wrong)
    assert one_outcome_each(stack) == {"failed"}


WHOLE = {
    "broken JSON": ({"garbage": True}, "bad_output", 2, ""),
    "HTML": ({"error_status": 200, "error_body": "html"}, "bad_output", 2, ""),
    "nothing": ({"error_status": 200, "error_body": "empty"}, "bad_output", 2, ""),
    "half of it": ({"answer": "word " * 100, "cut_after_bytes": 300}, "stream_interrupted", 3, ""),
    "too much": ({"answer": "too much " * 1000}, "bad_output", 2, ""),
    "an answer too late": ({"latency_ms": 5000}, "outcome_unknown", 3, ""),
}


@pytest.mark.parametrize("what", WHOLE)
def test_a_target_without_streams_that_sends(what, make_stack):
    rule, code, wanted, text = WHOLE[what]
    stack = make_stack(config=HASTY | {"limits": {"result_bytes": "4KiB"}, "targets": {"sim": {"stream": False, **({"timeout": SHORT} if "latency_ms" in rule else {})}}})
    script(stack, **rule)
    job = stack.wait_for(stack.submit("tag:one hello")["id"], "failed")
    tried = attempts(stack, job["id"])
    assert {a["code"] for a in tried} | {job["error"]["code"]} == {code}, tried
    assert len(calls(stack)) == len(tried) == wanted and text in job["error"]["message"]


def test_429_is_obeyed_and_is_no_attempt(stack):
    script(stack, status_sequence=[429, 200], retry_after=1)
    job = stack.wait_for(stack.submit("tag:one hello")["id"])
    assert job["attempts"] == 1
    refused, served = calls(stack)
    assert (refused["status"], served["status"]) == (429, 200) and served["at_ms"] - refused["at_ms"] >= 1000
    first, second = attempts(stack, job["id"])
    assert (first["code"], first["http_status"], second["code"]) == ("provider_rate_limit", 429, "ok")
    assert "waits" in first["next"]


def test_after_failures_comes_the_answer(stack):
    script(stack, status_sequence=[500, 503, 502, 200], answer="at last")
    job = stack.wait_for(stack.submit("tag:one hello")["id"])
    assert job["attempts"] == 4 and len(calls(stack)) == 4
    assert job["result"]["choices"][0]["message"]["content"] == "at last"
    tried = attempts(stack, job["id"])
    assert [(a["number"], a["http_status"], a["code"]) for a in tried] == [
        (1, 500, "transient"), (2, 503, "provider_overloaded"), (3, 502, "transient"), (4, 200, "ok")]
    assert all(a["next"] == "backs off" for a in tried[:3])


def test_a_cut_call_is_billed_by_estimate_and_a_whole_one_by_its_usage(make_stack):
    stack = make_stack(config=HASTY)
    script(stack, answer="word " * 100, chunk_bytes=20, cut_after_bytes=2000, fail_first=1)
    job = stack.wait_for(stack.submit("tag:one hello")["id"])
    cut, whole = attempts(stack, job["id"])
    assert cut["usage"]["estimated"] and not whole["usage"]["estimated"]
    assert 0 < cut["usage"]["output_tokens"] < whole["usage"]["output_tokens"]
    assert job["usage"]["estimated"]
    assert job["usage"]["output_tokens"] == cut["usage"]["output_tokens"] + whole["usage"]["output_tokens"]


def test_an_answer_without_usage_is_estimated(stack):
    script(stack, answer="word " * 100, no_usage=True)
    job = stack.wait_for(stack.submit("tag:one hello")["id"])
    assert job["usage"]["estimated"] and job["usage"]["input_tokens"] > 0
    assert 50 <= job["usage"]["output_tokens"] <= 250
    assert float(job["cost"]["usd"]) > 0
    script(stack, answer="word " * 100)
    job = stack.wait_for(stack.submit("tag:two hello")["id"])
    assert not job["usage"]["estimated"]


@pytest.mark.parametrize("max_attempts", [1, 2])
def test_calls_stay_within_max_attempts_over_restarts_of_the_worker(max_attempts, make_stack):
    """The count of attempts is kept in the database, not in the worker."""
    stack = make_stack(config={"job": {"max_attempts": max_attempts}, "retry": {"in_place": "0ms", "base": "300ms", "max": "300ms"}})
    script(stack, error_status=500)
    job = stack.submit("tag:one hello")["id"]
    wait_until(lambda: len(calls(stack)) >= 1, 10, "the first call")
    stack.workers[0].restart()
    done = stack.wait_for(job, "failed")
    assert done["attempts"] == max_attempts and len(calls(stack)) == max_attempts
    assert attempts(stack, job)[-1]["next"] == "no attempt is left"


def test_a_provider_that_is_away_is_tried_again_when_it_is_back(stack):
    port_closed = stack.simulator
    port_closed.term()
    job = stack.submit("tag:one hello", max_attempts=20)["id"]
    wait_until(lambda: stack.sql("select (select coalesce(max(attempts), 0) from parked)"
                                 " + (select coalesce(max(attempts), 0) from lease)")[0][0] >= 1, 10, "a failed attempt")
    port_closed.start()
    done = stack.wait_for(job)
    tried = attempts(stack, job)
    assert {a["code"] for a in tried[:-1]} == {"network"} and tried[-1]["code"] == "ok"
    assert done["attempts"] == len(tried) <= 20
    assert all(a["usage"]["output_tokens"] == 0 for a in tried[:-1]), "what was never sent costs nothing"
