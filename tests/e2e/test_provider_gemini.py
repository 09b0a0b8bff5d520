# SPDX-License-Identifier: Apache-2.0
"""A job whose target speaks Gemini's format: submitted in OpenAI's form, answered in OpenAI's form, whatever lies between."""

import base64
import hashlib

import pytest

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 300
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


@pytest.fixture
def gemini(make_stack):
    stack = make_stack(start=False)
    for process in (*stack.apis, *stack.workers):
        target = {**process.config["targets"]["sim"], "provider": "gemini", "base_url": stack.simulator.base_url.replace("/v1", "/v1beta"), "model": "gem"}
        process.config["targets"] = {"sim": target, "whole": {**target, "stream": False}}
        process.config["routes"] = {"default": {"targets": ["sim"]}, "whole": {"targets": ["whole"]}}
        process.config.pop("models", None)
    return stack.start()


def script(stack, **rule):
    answer = stack.simulator.http().post("/_control", {"reset": True, "models": {"gem": rule}})
    assert answer.status == 200, answer


def run(stack, request, route="default", **fields):
    job = stack.http().post("/v1/jobs?wait=20", {"route": route, "request": request, **fields}).json
    return stack.wait_for(job["id"], ("succeeded", "failed"), 20)


def ask(*messages, **fields):
    return {"messages": [m if isinstance(m, dict) else {"role": "user", "content": m} for m in messages], **fields}


@pytest.mark.parametrize("route", ["default", "whole"])
def test_an_answer_with_thoughts_and_usage(gemini, route):
    script(gemini, answer="Grüße, 世界", thinking="let me see", chunk_bytes=3, cached_tokens=2)
    job = run(gemini, ask({"role": "system", "content": "Be kind."}, "hello"), route)
    [choice] = job["result"]["choices"]
    assert choice["message"]["content"] == "Grüße, 世界" and choice["finish_reason"] == "stop"
    assert choice["message"]["reasoning_content"] == "let me see"
    assert job["usage"]["input_tokens"] > 0 and job["usage"]["output_tokens"] > 0 and job["usage"]["estimated"] is False
    [call] = gemini.simulator.http().get("/_control/calls").json["calls"]
    assert call["format"] == "gemini" and call["stream"] is (route == "default")


@pytest.mark.parametrize("route", ["default", "whole"])
def test_a_call_and_its_result_make_the_round(gemini, route):
    script(gemini, tool_call=True)
    message = run(gemini, ask("What is the weather in Rome?", tools=[TOOL]), route)["result"]["choices"][0]["message"]
    [call] = message["tool_calls"]
    assert call["function"]["name"] == "weather" and call["id"]
    script(gemini, answer="sunny")
    result = {"role": "tool", "tool_call_id": call["id"], "content": '{"sky": "clear"}'}
    job = run(gemini, ask("What is the weather in Rome?", message, result, tools=[TOOL]), route)
    assert job["result"]["choices"][0]["message"]["content"] == "sunny"
    lost = run(gemini, ask("hello", {**result, "tool_call_id": "lost"}), route)
    assert lost["status"] == "failed" and "messages/1/tool_call_id" in str(lost["error"])


def test_a_pdf_arrives_as_it_was(gemini):
    data = "data:application/pdf;base64," + base64.b64encode(PDF).decode()
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": data}}
    run(gemini, ask({"role": "user", "content": [{"type": "text", "text": "Read."}, part]}))
    [call] = gemini.simulator.http().get("/_control/calls").json["calls"]
    assert call["files"] == [{"type": "application/pdf", "bytes": len(PDF), "sha256": hashlib.sha256(PDF).hexdigest()}]


def test_a_blocked_prompt_is_a_content_filter(gemini):
    script(gemini, error_class="content_filter")
    assert run(gemini, ask("x"))["error"]["code"] == "content_filter"


@pytest.mark.parametrize("fault", [{"cut_after_bytes": 150}, {"stream_error": "overloaded"}, {"error_class": "server_error"}, {"garbage": "sse"}])
def test_what_fails_once_is_asked_again(gemini, fault):
    script(gemini, answer="a b c d e f g h", chunk_bytes=2, fail_first=1, **fault)
    job = run(gemini, ask("x"))
    rows = gemini.http().get(f"/v1/jobs/{job['id']}/attempts").json["data"]
    assert job["result"]["choices"][0]["message"]["content"] == "a b c d e f g h"
    assert len(rows) == 2 and [r["code"] == "ok" for r in rows] == [False, True]


def test_embeddings(gemini):
    job = run(gemini, {"input": ["a", "b"], "dimensions": 3}, kind="embeddings")
    assert [(d["index"], len(d["embedding"])) for d in job["result"]["data"]] == [(0, 3), (1, 3)]
    packed = run(gemini, {"input": "a", "dimensions": 3, "encoding_format": "base64"}, kind="embeddings")
    assert len(base64.b64decode(packed["result"]["data"][0]["embedding"])) == 12
