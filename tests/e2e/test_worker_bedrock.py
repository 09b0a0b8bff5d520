# SPDX-License-Identifier: Apache-2.0
"""Bedrock through and through: signed calls, binary streams, documents, an answer by schema, exceptions, embeddings."""

import base64
import hashlib

import pytest

from stack import wait_until

CLAUDE = "anthropic.claude-3-5-sonnet-20240620-v1:0"
KEYS = {"region": "us-east-1", "access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG", "session_token": "tok/en+="}


@pytest.fixture
def bedrock(make_stack):
    stack = make_stack(start=False, config={"job": {"max_attempts": 2}})
    base = stack.simulator.base_url.removesuffix("/v1")
    targets = {"stream": {"model": CLAUDE}, "whole": {"model": CLAUDE, "stream": False}, "titan": {"model": "amazon.titan-embed-text-v2:0"}}
    for process in stack.apis + stack.workers:
        for name, target in targets.items():
            process.config["targets"][name] = {"provider": "bedrock", "base_url": base, **KEYS, **target}
        process.config["routes"]["bearer"] = {"targets": ["bearer"]}
        process.config["targets"]["bearer"] = {"provider": "bedrock", "base_url": base, "api_key": "bedrock-key", "model": "amazon.nova-lite-v1:0"}
    return stack.start()


def script(stack, rule):
    assert stack.simulator.http().post("/_control", {"reset": True, "models": {CLAUDE: rule}}).status == 200


def end_of(stack, job):
    return stack.wait_for(job["id"], ("succeeded", "failed"), 30)


def last_call(stack):
    return stack.simulator.http().get("/_control/calls").json["calls"][-1]


def test_streamed_and_whole_answers_come_out_the_same(bedrock):
    script(bedrock, {"answer": "Grüße, 世界 \"quoted\"\n", "chunk_bytes": 3, "thinking": "hm", "cached_tokens": 2})
    jobs = [end_of(bedrock, bedrock.submit(route=route)) for route in ("stream", "whole")]
    for job in jobs:
        message = job["result"]["choices"][0]["message"]
        assert message["content"] == "Grüße, 世界 \"quoted\"\n" and message["reasoning_content"] == "hm", job
        assert message["thinking_blocks"][0]["signature"]
        assert job["usage"]["input_tokens"] > 2 and job["usage"]["cached_input_tokens"] == 2 and job["usage"]["estimated"] is False
    assert jobs[0]["usage"] == jobs[1]["usage"]
    call = last_call(bedrock)
    assert call["format"] == "bedrock" and call["model"] == CLAUDE
    keys = bedrock.simulator.http().get("/_control/stats").json["by_key"]
    assert "AKIDEXAMPLE" in str(keys)


def test_a_bearer_key_needs_no_signature(bedrock):
    job = end_of(bedrock, bedrock.submit(route="bearer"))
    assert job["status"] == "succeeded", job
    assert "bedrock-key" in str(bedrock.simulator.http().get("/_control/stats").json["by_key"])


def test_a_document_arrives_byte_identical(bedrock):
    pdf = b"%PDF-1.4\n" + bytes(range(256)) * 20
    part = {"type": "file", "file": {"filename": "a_report.v2.pdf", "file_data": "data:application/pdf;base64," + base64.b64encode(pdf).decode()}}
    job = end_of(bedrock, bedrock.submit({"messages": [{"role": "user", "content": [part, {"type": "text", "text": "Summarise."}]}]}, route="stream"))
    assert job["status"] == "succeeded", job
    [file] = last_call(bedrock)["files"]
    assert (file["type"], file["bytes"], file["sha256"]) == ("application/pdf", len(pdf), hashlib.sha256(pdf).hexdigest())


@pytest.mark.parametrize("route", ["stream", "whole"])
def test_an_answer_by_schema_is_text_that_fits(bedrock, route):
    schema = {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"], "additionalProperties": False}
    request = {"messages": [{"role": "user", "content": "The animal is a dog."}],
               "response_format": {"type": "json_schema", "json_schema": {"name": "out", "schema": schema}}}
    choice = end_of(bedrock, bedrock.submit(request, route=route))["result"]["choices"][0]
    assert choice["finish_reason"] == "stop" and choice["message"]["content"].startswith('{"animal"') and not choice["message"].get("tool_calls")


def test_tools_go_there_and_back(bedrock):
    script(bedrock, {"tool_call": True})
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
    messages = [{"role": "user", "content": "The city is Paris."}]
    first = end_of(bedrock, bedrock.submit({"messages": messages, "tools": [tool]}, route="stream"))["result"]["choices"][0]
    assert first["finish_reason"] == "tool_calls" and first["message"]["tool_calls"][0]["function"]["name"] == "weather"
    script(bedrock, {"answer": "Sunny."})
    call = first["message"]["tool_calls"][0]
    messages += [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}]
    second = end_of(bedrock, bedrock.submit({"messages": messages, "tools": [tool]}, route="stream"))
    assert second["result"]["choices"][0]["message"]["content"] == "Sunny.", second


FAILURES = {
    "context_window": "context_window_exceeded", "content_filter": "content_filter", "bad_request": "bad_request", "permission": "provider_permission", "not_found": "provider_not_found", "too_large": "provider_too_large",
    "server_error": "transient", "overloaded": "transient", "timeout": "transient",
}


def test_each_exception_has_its_class(bedrock):
    for kind, code in FAILURES.items():
        script(bedrock, {"error_class": kind})
        job = end_of(bedrock, bedrock.submit(route="stream"))
        assert job["status"] == "failed" and job["error"]["code"] == code, (kind, job)


@pytest.mark.parametrize("kind,code", [("auth", "provider_auth"), ("billing", "provider_billing")])
def test_a_key_that_is_refused_stops_and_its_jobs_wait(bedrock, kind, code):
    script(bedrock, {"error_class": kind})
    job = bedrock.submit(route="stream")
    wait_until(lambda: bedrock.sql("select code from attempt") == [(code,)], 10, "the refused call")
    wait_until(lambda: bedrock.get(job["id"])["queue"] and bedrock.get(job["id"])["queue"]["waiting_for"] == "target_unavailable", 10, "the job's wait")
    assert bedrock.sql("select disabled_why from target_state where disabled_at is not null")[0][0].startswith(code)
    assert bedrock.sql("select count(*) > 0 from target_event where kind = 'disabled'") == [(True,)]


def test_a_stream_that_breaks_is_no_success(bedrock):
    for rule, code in (({"stream_error": "server_error"}, "transient"), ({"cut_after_bytes": 300}, "stream_interrupted"), ({"garbage": "sse"}, "bad_output")):
        script(bedrock, rule)
        job = end_of(bedrock, bedrock.submit(route="stream"))
        assert job["status"] == "failed" and job["error"]["code"] == code and job["attempts"] == 2, (rule, job)


def test_embeddings_of_titan(bedrock):
    request = {"input": "a", "dimensions": 8}
    job = bedrock.http().post("/v1/jobs?wait=20", {"route": "titan", "kind": "embeddings", "request": request}).json
    assert job["status"] == "succeeded", job
    assert len(job["result"]["data"][0]["embedding"]) == 8 and job["usage"]["input_tokens"] == 1
