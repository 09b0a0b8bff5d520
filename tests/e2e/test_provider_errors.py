# SPDX-License-Identifier: Apache-2.0
"""What a provider's error does to a job, for every format and every class of error: alone it is asked again, waited for or the end; where the route
has another target, that one is asked when it may help. One model per case in the simulator, one stack per table."""

import pytest

FORMATS = ("openai", "azure", "anthropic", "gemini", "bedrock")
BASES = {"openai": "/v1", "azure": "/openai/v1", "anthropic": "/v1", "gemini": "/v1beta", "bedrock": ""}

# What the job's attempt is called, by the simulator's class; where a format says something else by its own words, that.
CODES = {
    "rate_limit": {"": "provider_rate_limit"},
    "quota_day": {"": "quota_exhausted"},
    "overloaded": {"": "provider_overloaded", "azure": "transient", "bedrock": "transient"},  # those say 503 and no more
    "auth": {"": "provider_auth"},
    "billing": {"": "provider_billing", "azure": "quota_exhausted"},  # "Quota will be replenished"
    "permission": {"": "provider_permission"},
    "not_found": {"": "provider_not_found"},
    "context_window": {"": "context_window_exceeded"},
    "content_filter": {"": "content_filter"},
    "bad_request": {"": "bad_request"},
    "too_large": {"": "provider_too_large", "gemini": "context_window_exceeded"},  # "Request payload size exceeds the limit"
    "too_large_for_limit": {"": "too_large_for_limit"},
    "server_error": {"": "transient"},
    "timeout": {"": "transient"},
}
CASES = [(form, kind) for form in FORMATS for kind in CODES]

NO_OTHER = {"content_filter", "bad_request"}  # another target would refuse it, too
AGAIN = {"transient", "provider_overloaded"}
WAITS = {"provider_rate_limit", "quota_exhausted"}  # without an attempt


def code_of(form, kind):
    return CODES[kind].get(form, CODES[kind][""])


def target_of(stack, form, model):
    base = stack.simulator.base_url.removesuffix("/v1") + BASES[form]
    target = {"provider": form, "base_url": base, "model": model}
    # Each has a key of its own: one that is refused says nothing of the others.
    if form == "bedrock":
        return {**target, "region": "us-east-1", "access_key": f"AK-{model}", "secret_key": "s"}
    return {**target, "api_key": f"key-{model}"}


@pytest.fixture
def stack_of(make_stack):
    """stack_of(cases, rule, second=): a route for each (format, name), whose first target goes by rule(format, name)."""

    def make(cases, rule, second=False, expires_after="1h"):
        stack = make_stack(start=False, config={"job": {"max_attempts": 3, "expires_after": expires_after}})
        targets = {"good": target_of(stack, "openai", "good")}
        routes, models = {}, {"good": {"answer": "from the other"}}
        for form, name in cases:
            model = f"{form}.{name}"
            targets[model] = target_of(stack, form, model)
            routes[model] = {"targets": [model, "good"] if second else [model]}
            models[model] = rule(form, name)
        for process in (*stack.apis, *stack.workers):
            process.config["targets"], process.config["routes"] = targets, routes
            process.config.pop("models", None)
        stack.start()
        answer = stack.simulator.http().post("/_control", {"reset": True, "models": models})
        assert answer.status == 200, answer
        return stack

    return make


def run(stack, cases):
    """What became of one job of each case: {case: (the job, codes and targets of its attempts)}."""
    jobs = {}
    for form, name in cases:
        body = {"route": f"{form}.{name}", "request": {"messages": [{"role": "user", "content": "one two three four"}]}}
        answer = stack.http().post("/v1/jobs", body)
        assert answer.status == 202, answer
        jobs[form, name] = answer.json["id"]
    ends = {}
    for case, job_id in jobs.items():
        job = stack.wait_for(job_id, ("succeeded", "failed"), 40)
        rows = stack.http().get(f"/v1/jobs/{job_id}/attempts").json["data"]
        ends[case] = job, [(row["code"], "good" if row["target"] == "good" else "first") for row in rows]
    return ends


def test_another_target_is_asked_when_it_may_help(stack_of):
    stack = stack_of(CASES, lambda form, kind: {"error_class": kind}, second=True)
    got, wanted = {}, {}
    for case, (job, attempts) in run(stack, CASES).items():
        code = code_of(*case)
        got[case] = job["status"], attempts
        wanted[case] = ("failed", [(code, "first")]) if code in NO_OTHER else ("succeeded", [(code, "first"), ("ok", "good")])
    assert got == wanted


def test_alone_it_is_asked_again_or_waited_for_or_the_end(stack_of):
    # Not here: keys and models that need a person, and Google's quota of a day, which begins anew hours from now (the next test).
    held = ("provider_auth", "provider_billing", "provider_permission", "provider_not_found", "quota_exhausted")
    cases = [case for case in CASES if code_of(*case) not in held]
    stack = stack_of(cases, lambda form, kind: {"error_class": kind, "fail_first": 1, "retry_after": 1})
    got, wanted = {}, {}
    for case, (job, attempts) in run(stack, cases).items():
        code = code_of(*case)
        got[case] = job["status"], [c for c, _ in attempts], (job.get("error") or {}).get("code")
        wanted[case] = ("succeeded", [code, "ok"], None) if code in AGAIN | WAITS else ("failed", [code], code)
    assert got == wanted


def test_a_wait_past_the_deadline_is_the_end(stack_of):
    cases = [("gemini", "quota_day"), ("openai", "rate_limit"), ("anthropic", "rate_limit"), ("azure", "rate_limit")]
    stack = stack_of(cases, lambda form, kind: {"error_class": kind, "retry_after": 7200}, expires_after="60s")
    ends = run(stack, cases)
    assert {case: (job["status"], job["error"]["code"]) for case, (job, _) in ends.items()} == \
        {case: ("failed", "quota_exhausted") for case in cases}


def test_an_error_in_the_middle_of_a_stream_has_its_class(stack_of):
    kinds = ("overloaded", "rate_limit", "server_error", "bad_request")
    cases = [(form, kind) for form in FORMATS for kind in kinds]
    stack = stack_of(cases, lambda form, kind: {"answer": "a b c d e f g h", "chunk_bytes": 2, "fail_first": 1, "retry_after": 1,
                                                "stream_error": {"class": kind, "after_bytes": 6}})
    got, wanted = {}, {}
    for case, (job, attempts) in run(stack, cases).items():
        code = code_of(*case)
        got[case] = job["status"], [c for c, _ in attempts]
        wanted[case] = ("failed", [code]) if code == "bad_request" else ("succeeded", [code, "ok"])
    assert got == wanted
    calls = stack.simulator.http().get("/_control/calls").json["calls"]
    assert len(calls) == sum(len(codes) for _, codes in wanted.values())


# Bodies as they were recorded, where the simulator's own are others: (status, body, code).
RECORDED = {
    ("openai", "echo"): (400, {"error": {"message": "Invalid value: 'a 429 rate limit, and context length exceeded'. Supported values are: 'x'.",
                                         "type": "invalid_request_error", "param": "m", "code": "invalid_value"}}, "bad_request"),
    ("openai", "vllm"): (400, {"object": "error", "message": "'max_tokens' is too large: 5000. This model's maximum context length is 4096 tokens",
                               "type": "BadRequestError", "param": None, "code": 400}, "context_window_exceeded"),
    ("openai", "llamacpp"): (400, {"error": {"code": 400, "message": "the request exceeds it", "type": "exceed_context_size_error", "n_ctx": 512}},
                             "context_window_exceeded"),
    ("openai", "ollama"): (404, {"error": "model 'x' not found"}, "provider_not_found"),
    ("openai", "tgi"): (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.", "error_type": "validation"},
                        "context_window_exceeded"),
    ("openai", "cerebras"): (400, {"message": "Current length is 9000 while limit is 8192", "type": "invalid_request_error", "code": "x"},
                             "context_window_exceeded"),
    ("openai", "groq"): (413, {"error": {"message": "Request too large for model on tokens per minute (TPM): Limit 6000", "code": "rate_limit_exceeded"}},
                         "too_large_for_limit"),
    ("azure", "inner"): (400, {"error": {"message": "x", "code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "content_filter"),
    ("anthropic", "html"): (413, "html", "provider_too_large"),
    ("anthropic", "spend"): (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "enforced_spend_limit_reached"}}, "provider_billing"),
    ("gemini", "list"): (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}],
                         "provider_auth"),
    ("gemini", "envelope"): (503, {"error": {"code": 403, "message": "m", "status": "PERMISSION_DENIED"}}, "provider_permission"),
    ("bedrock", "image"): (500, {"message": "Could not process image"}, "bad_request"),
    ("bedrock", "maxlength"): (400, {"message": "expected maxLength: 50000, actual: 99999"}, "context_window_exceeded"),
}


def test_recorded_bodies_have_their_class(stack_of):
    stack = stack_of(RECORDED, lambda form, name: {"error_status": RECORDED[form, name][0], "error_body": RECORDED[form, name][1]}, second=True)
    ends = run(stack, RECORDED)
    assert {case: attempts[0] for case, (_, attempts) in ends.items()} == {case: (row[2], "first") for case, row in RECORDED.items()}
