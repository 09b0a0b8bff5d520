# SPDX-License-Identifier: Apache-2.0
"""What a worker makes of providers' answers: success in every form, each class of failure, retries, the next target."""

import json

import pytest

from stack import wait_until


def script(stack, **models):
    answer = stack.simulator.http().post("/_control", {"models": {k.replace("_", "-"): v for k, v in models.items()}})
    assert answer.status == 200, answer


def attempts(stack, job):
    return stack.http().get(f"/v1/jobs/{job['id']}/attempts").json["data"]


def end_of(stack, job, limit=20):
    return stack.wait_for(job["id"], ("succeeded", "failed", "canceled", "expired"), limit)


def calls(stack, tag):
    return stack.simulator.http().get(f"/_control/calls?tag={tag}").json["calls"]


def test_an_answer_is_kept_with_usage_cost_and_its_attempt(stack):
    job = end_of(stack, stack.submit("tag:one hello"))
    assert job["status"] == "succeeded" and job["attempts"] == 1 and job["error"] is None
    assert job["served_by"] == {"level": "primary", "target": "sim", "cached": False, "shared": False}
    used = job["usage"]
    assert used["input_tokens"] > 0 and used["output_tokens"] > 0 and used["estimated"] is False
    # 0.15 and 0.60 dollars per million: 150 and 600 nano-dollars a token.
    nano = used["input_tokens"] * 150 + used["output_tokens"] * 600
    assert round(float(job["cost"]["usd"]) * 1e9) == nano
    [row] = attempts(stack, job)
    assert row["code"] == "ok" and row["target"] == "sim" and row["http_status"] == 200 and row["number"] == 1
    assert stack.sql("select cost_nanousd, price_input, price_output, first_token_ms >= 0, total_ms >= first_token_ms from attempt") == [
        (nano, 150000000, 600000000, True, True)]
    assert len(calls(stack, "one")) == 1
    assert stack.sql("select count(*) from lease") == [(0,)]


def test_whole_streamed_and_tool_answers_come_out_the_same(make_stack):
    stack = make_stack(start=False)
    for worker in stack.workers:
        target = worker.config["targets"]["sim"]
        worker.config["targets"]["whole"] = {**target, "stream": False}
    stack.apis[0].config["targets"]["whole"] = {**stack.apis[0].config["targets"]["sim"], "stream": False}
    stack.start()
    script(stack, **{"sim-extract": {"answer": "Grüße, 世界 \"quoted\"\n", "chunk_bytes": 3}})
    texts = [end_of(stack, stack.submit(route=r))["result"]["choices"][0] for r in ("default", "whole")]
    assert texts[0]["message"]["content"] == texts[1]["message"]["content"] == "Grüße, 世界 \"quoted\"\n"
    assert texts[0]["finish_reason"] == texts[1]["finish_reason"] == "stop"
    assert [r[0] for r in stack.sql("select first_token_ms >= 0 from attempt")] == [True, True]


def test_embeddings(stack):
    job = stack.http().post("/v1/jobs?wait=20", {"route": "default", "kind": "embeddings", "request": {"input": ["a", "b"]}}).json
    assert job["status"] == "succeeded", job
    assert [d["index"] for d in job["result"]["data"]] == [0, 1]
    assert job["usage"]["output_tokens"] == 0 and job["usage"]["input_tokens"] > 0


# model's script → the job's error code, upstream calls that count, HTTP status of the last
PERMANENT = {
    "p400": ({"error_status": 400}, "bad_request", 400),
    "p401": ({"error_status": 401}, "provider_auth", 401),
    "p402": ({"error_status": 402}, "provider_billing", 402),
    "p403": ({"error_status": 403}, "provider_permission", 403),
    "p404": ({"error_status": 404}, "provider_not_found", 404),
    "p413": ({"error_status": 413, "error_body": "html"}, "provider_too_large", 413),
    "p422": ({"error_status": 422, "error_body": "empty"}, "bad_request", 422),
    "ctx": ({"error_status": 400, "error_body": {"error": {"message": "too long", "code": "context_length_exceeded"}}},
            "context_window_exceeded", 400),
    "filter": ({"error_status": 400, "error_body": {"error": {"message": "no", "code": "content_filter"}}}, "content_filter", 400),
    "quota": ({"error_status": 429, "error_body": {"error": {"message": "pay", "type": "insufficient_quota"}}}, "provider_billing", 429),
    "tpm": ({"error_status": 429, "error_body": {"error": {"message": "Request too large for m on tokens per min (TPM): Limit 1"}}},
            "too_large_for_limit", 429),
    "cf": ({"answer": "x", "finish_reason": "content_filter"}, "content_filter", 200),
}
RETRIED = {
    "t500": ({"error_status": 500}, "transient", 500),
    "t503": ({"error_status": 503, "error_body": "html"}, "transient", 503),
    "t529": ({"error_status": 529}, "provider_overloaded", 529),
    "cut": ({"cut_after_bytes": 120}, "stream_interrupted", 200),
    "nohead": ({"cut_before_head": True}, "outcome_unknown", None),
    "half": ({"garbage": "json"}, "stream_interrupted", 200),
    "garbage": ({"garbage": "sse"}, "bad_output", 200),
}


def test_a_permanent_failure_is_one_call_and_says_which(stack):
    script(stack, **{k: v[0] for k, v in PERMANENT.items()})
    jobs = {k: stack.submit(route=k) for k in PERMANENT}
    for name, (_, code, status) in PERMANENT.items():
        job = end_of(stack, jobs[name])
        assert job["status"] == "failed" and job["error"]["code"] == code and job["attempts"] == 1, (name, job)
        [row] = attempts(stack, job)
        assert row["code"] == code and row["http_status"] == status, (name, row)
        assert job["result"] is None
    # An answer that was made and then filtered is billed; a refused request is not.
    billed = dict(stack.sql("select code, bool_or(cost_nanousd is distinct from 0) from attempt where code in ('bad_request', 'content_filter') "
                            "and http_status in (200, 422) group by code"))
    assert billed == {"bad_request": False, "content_filter": True}


def test_a_passing_failure_is_tried_again_until_none_is_left(make_stack):
    stack = make_stack(config={"job": {"max_attempts": 3}})
    script(stack, **{k: v[0] for k, v in RETRIED.items()})
    jobs = {k: stack.submit(route=k) for k in RETRIED}
    for name, (_, code, status) in RETRIED.items():
        job = end_of(stack, jobs[name], 40)
        rows = attempts(stack, job)
        tries = 2 if name == "garbage" else 3  # an unusable answer is asked for once more only
        assert job["status"] == "failed" and job["attempts"] == tries == len(rows), (name, job, rows)
        assert job["error"]["code"] == code and [(r["code"], r["http_status"]) for r in rows] == [(code, status)] * tries, (name, job)
    # What a cut call may have cost is counted at its estimate.
    assert stack.sql("select count(*) from attempt where code in ('stream_interrupted', 'outcome_unknown') and (flags & 1 = 0 or input_tokens = 0)") == [(0,)]
    assert stack.sql("select count(*) from lease") == [(0,)]


def test_a_failure_that_passes_costs_an_attempt_and_no_more(stack):
    script(stack, once={"fail_first": 2, "error_status": 503, "answer": "good"})
    job = end_of(stack, stack.submit("tag:t hi", route="once"))
    assert job["status"] == "succeeded" and job["attempts"] == 3
    rows = attempts(stack, job)
    assert [r["code"] for r in rows] == ["provider_overloaded", "provider_overloaded", "ok"]
    assert len(calls(stack, "t")) == 3
    assert len({r["number"] for r in rows}) == 3 or len({r["token"] for r in rows}) > 1


def test_a_long_wait_parks_the_job_and_it_comes_back(make_stack):
    stack = make_stack(config={"retry": {"in_place": "0"}})
    script(stack, m={"fail_first": 2, "error_status": 503, "answer": "good"})
    job = end_of(stack, stack.submit(route="m"))
    assert job["status"] == "succeeded" and job["attempts"] == 3
    assert stack.sql("select token, number, code from attempt order by token") == [
        (1, 1, "provider_overloaded"), (2, 1, "provider_overloaded"), (3, 1, "ok")]
    assert stack.sql("select attempts, token from outcome") == [(3, 3)]


def test_a_rate_limit_waits_as_asked_and_costs_no_attempt(make_stack):
    stack = make_stack(config={"job": {"max_attempts": 1}})
    script(stack, m={"fail_first": 1, "error_status": 429, "retry_after": 3, "answer": "good"})
    job = stack.submit(route="m")
    parked = wait_until(lambda: stack.sql("select reason, run_at - now() > interval '1 s' from parked"), 10, "the job being parked")
    assert parked == [(2, True)]
    assert stack.get(job["id"])["queue"]["waiting_for"] == "rate_limit"
    job = end_of(stack, job)
    assert job["status"] == "succeeded" and job["attempts"] == 1
    assert [r["code"] for r in attempts(stack, job)] == ["provider_rate_limit", "ok"]
    seconds = stack.sql("select extract(epoch from max(started_at) - min(started_at)) from attempt")[0][0]
    assert seconds >= 3.0


def test_a_limit_that_turns_after_the_deadline_is_a_quota(make_stack):
    stack = make_stack(config={"job": {"expires_after": "30s"}})
    script(stack, m={"error_status": 429, "retry_after": 3600})
    job = end_of(stack, stack.submit(route="m"))
    assert (job["status"], job["error"]["code"], job["attempts"]) == ("failed", "quota_exhausted", 0), job
    assert [r["code"] for r in attempts(stack, job)] == ["quota_exhausted"]


@pytest.fixture
def two_targets(make_stack):
    def make(first=None, **over):
        stack = make_stack(start=False, **over)
        for daemon in stack.apis + stack.workers:
            base = daemon.config["targets"]["sim"]
            daemon.config["targets"] = {"first": {**base, "model": "m-first", **(first or {})}, "second": {**base, "model": "m-second"}}
            daemon.config["routes"] = {"default": {"targets": ["first", "second"]}}
        return stack.start()
    return make


def test_the_next_target_serves_when_the_first_cannot(two_targets):
    stack = two_targets()
    script(stack, **{"m-first": {"error_status": 503}, "m-second": {"answer": "from the second"}})
    job = end_of(stack, stack.submit())
    assert job["served_by"] == {"level": "fallback", "target": "second", "cached": False, "shared": False}
    assert [r["target"] for r in attempts(stack, job)] == ["first", "second"] and job["attempts"] == 2
    script(stack, **{"m-first": {"error_status": 400}})
    job = end_of(stack, stack.submit())
    assert job["status"] == "failed" and job["attempts"] == 1, "the same request would fail elsewhere, too"
    script(stack, **{"m-first": {"error_status": 429, "retry_after": 60}})
    job = end_of(stack, stack.submit())
    assert job["served_by"]["target"] == "second" and job["attempts"] == 1, "a rate limit is no attempt"
    script(stack, **{"m-first": {"error_status": 400}})
    assert end_of(stack, stack.submit())["served_by"]["target"] == "second", "the first is parked: it is not even asked"


def test_a_late_first_token_is_given_up_and_counted(two_targets):
    stack = two_targets(first={"timeout": {"first_token": "300ms"}})
    script(stack, **{"m-first": {"answer": "slow", "first_token_ms": 20000}, "m-second": {"answer": "fast"}})
    job = end_of(stack, stack.submit(request={"messages": [{"role": "user", "content": "hi"}], "max_tokens": 77}))
    assert job["served_by"]["target"] == "second"
    first = attempts(stack, job)[0]
    assert first["code"] == "outcome_unknown" and "first_token" in first["message"]
    assert stack.sql("select flags & 1, output_tokens, input_tokens > 0 from attempt where target = 'first'") == [(1, 77, True)]
    assert job["usage"]["estimated"] is True
    wait_until(lambda: stack.simulator.http().get("/_control/stats").json["in_flight"] == 0, 5, "the end of the late call")


def test_an_endless_answer_ends_at_its_limits(make_stack):
    stack = make_stack(config={"timeout": {"total": "1s", "between_tokens": "400ms"}, "job": {"max_attempts": 1},
                               "limits": {"result_bytes": "4KiB"}})
    script(stack, drip={"answer": "word " * 400, "chunk_bytes": 5, "between_ms": 50},
           stall={"answer": "word " * 400, "chunk_bytes": 5, "between_ms": 5000}, huge={"answer": "x" * 6000, "chunk_bytes": 500})
    jobs = {k: stack.submit(route=k) for k in ("drip", "stall", "huge")}
    codes = {k: end_of(stack, v)["error"]["code"] for k, v in jobs.items()}
    assert codes == {"drip": "stream_interrupted", "stall": "stream_interrupted", "huge": "bad_output"}


def test_a_provider_that_is_down_is_asked_again_and_named(make_stack):
    stack = make_stack(config={"job": {"max_attempts": 2}})
    stack.simulator.kill()
    job = end_of(stack, stack.submit())
    assert job["error"]["code"] == "network" and job["attempts"] == 2
    assert stack.sql("select distinct cost_nanousd, input_tokens, http_status from attempt") == [(0, 0, None)]
    stack.simulator.start()
    assert end_of(stack, stack.submit())["status"] == "succeeded"


def test_a_route_that_is_gone_fails_its_jobs(make_stack):
    stack = make_stack(start=False)
    stack.apis[0].config["targets"]["only-api"] = stack.apis[0].config["targets"]["sim"]
    for worker in stack.workers:
        worker.config.pop("models")
    stack.start()
    job = end_of(stack, stack.submit(route="only-api"))
    assert job["error"]["code"] == "unknown_route" and job["attempts"] == 0


def test_a_stored_body_that_cannot_be_read_fails_its_job(stack):
    jobs = []
    for worker in stack.workers:
        worker.stop()
    jobs = [stack.submit(f"n{i}") for i in range(3)]
    ids = [j["id"][4:] for j in jobs]
    stack.sql("update payload set body = %s where job_id = %s::uuid", "{not json", ids[0])
    stack.sql("delete from payload where job_id = %s::uuid", ids[1])
    stack.sql("update payload set body = %s where job_id = %s::uuid", json.dumps({"route": "default"}), ids[2])
    for worker in stack.workers:
        worker.cont()
    codes = [end_of(stack, j)["error"]["code"] for j in jobs]
    assert codes == ["invalid_json", "request_erased", "invalid_json"]


def test_a_new_configuration_is_taken_over_and_a_bad_one_is_not(stack):
    script(stack, other={"answer": "the other model"})
    worker, api = stack.workers[0], stack.apis[0]
    for daemon in (api, worker):
        daemon.reconfigure({"targets": {"sim": {"model": "other"}}})
    worker.wait_log("took over the configuration")
    assert end_of(stack, stack.submit())["result"]["choices"][0]["message"]["content"] == "the other model"
    worker.reconfigure({"worker": {"slots": -1}})
    worker.wait_log("the running configuration stays")
    assert end_of(stack, stack.submit())["result"]["choices"][0]["message"]["content"] == "the other model"
