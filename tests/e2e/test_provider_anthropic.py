# SPDX-License-Identifier: Apache-2.0
"""A job whose target speaks Anthropic's format: submitted in OpenAI's form, answered in OpenAI's form, whatever lies between."""

import base64
import hashlib

import pytest

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 300
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


@pytest.fixture
def anthropic(make_stack):
    stack = make_stack(start=False)
    for process in (*stack.apis, *stack.workers):
        target = {**process.config["targets"]["sim"], "provider": "anthropic", "model": "claude"}
        process.config["targets"] = {"sim": target, "whole": {**target, "stream": False}}
        process.config["routes"] = {"default": {"targets": ["sim"]}, "whole": {"targets": ["whole"]}}
        process.config.pop("models", None)
    return stack.start()


def script(stack, **rule):
    answer = stack.simulator.http().post("/_control", {"reset": True, "models": {"claude": rule}})
    assert answer.status == 200, answer


def run(stack, request, route="default"):
    job = stack.http().post("/v1/jobs?wait=20", {"route": route, "request": request}).json
    return stack.wait_for(job["id"], ("succeeded", "failed"), 20)


def ask(*messages, **fields):
    return {"messages": [m if isinstance(m, dict) else {"role": "user", "content": m} for m in messages], **fields}


@pytest.mark.parametrize("route", ["default", "whole"])
def test_an_answer_with_thinking_and_usage(anthropic, route):
    script(anthropic, answer="Grüße, 世界", thinking="let me see", chunk_bytes=3, cached_tokens=2)
    job = run(anthropic, ask({"role": "system", "content": "Be kind."}, "hello", user="u", stop="END", temperature=1.5), route)
    [choice] = job["result"]["choices"]
    assert choice["message"]["content"] == "Grüße, 世界" and choice["finish_reason"] == "stop"
    assert choice["message"]["reasoning_content"] == "let me see"
    assert [b["type"] for b in choice["message"]["thinking_blocks"]] == ["thinking"] and choice["message"]["thinking_blocks"][0]["signature"]
    assert job["usage"]["cached_input_tokens"] == 2 < job["usage"]["input_tokens"] and job["usage"]["estimated"] is False
    [call] = anthropic.simulator.http().get("/_control/calls").json["calls"]
    assert call["format"] == "anthropic" and call["stream"] is (route == "default")


@pytest.mark.parametrize("route", ["default", "whole"])
def test_a_call_and_its_result_make_the_round(anthropic, route):
    script(anthropic, tool_call=True, thinking="hm")
    message = run(anthropic, ask("What is the weather in Rome?", tools=[TOOL]), route)["result"]["choices"][0]["message"]
    [call] = message["tool_calls"]
    assert call["function"]["name"] == "weather" and call["id"]
    script(anthropic, answer="sunny")
    result = {"role": "tool", "tool_call_id": call["id"], "content": '{"sky": "clear"}'}
    job = run(anthropic, ask("What is the weather in Rome?", message, result, tools=[TOOL]), route)
    assert job["result"]["choices"][0]["message"]["content"] == "sunny"


def test_a_pdf_arrives_as_it_was(anthropic):
    data = "data:application/pdf;base64," + base64.b64encode(PDF).decode()
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": data}}
    run(anthropic, ask({"role": "user", "content": [{"type": "text", "text": "Read."}, part]}))
    [call] = anthropic.simulator.http().get("/_control/calls").json["calls"]
    assert call["files"] == [{"type": "application/pdf", "bytes": len(PDF), "sha256": hashlib.sha256(PDF).hexdigest()}]


@pytest.mark.parametrize("class_, code", [("content_filter", "content_filter"), ("context_window", "context_window_exceeded")])
def test_an_error_has_its_class(anthropic, class_, code):
    script(anthropic, error_class=class_)
    assert run(anthropic, ask("x"))["error"]["code"] == code


@pytest.mark.parametrize("fault", [{"cut_after_bytes": 150}, {"stream_error": "overloaded"}, {"error_class": "server_error"}, {"garbage": "sse"}])
def test_what_fails_once_is_asked_again(anthropic, fault):
    script(anthropic, answer="a b c d e f g h", chunk_bytes=2, fail_first=1, **fault)
    job = run(anthropic, ask("x"))
    rows = anthropic.http().get(f"/v1/jobs/{job['id']}/attempts").json["data"]
    assert job["result"]["choices"][0]["message"]["content"] == "a b c d e f g h"
    assert len(rows) == 2 and [r["code"] == "ok" for r in rows] == [False, True]
