# SPDX-License-Identifier: Apache-2.0
"""Anthropic's Messages over durable jobs of any provider: what its SDK sends, and what it reads."""

import base64
import datetime
import json
import time

import pytest

from faults import script
from forms import upload

HEADERS = {"anthropic-version": "2023-06-01", "anthropic-beta": "a,b"}
TOOL = {"name": "weather", "description": "of a place", "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}}}


def message(stack, content="hello", headers=None, **fields):
    body = {"model": "default", "max_tokens": 200, "messages": [{"role": "user", "content": content}], **fields}
    return stack.http().post("/v1/messages", body, headers={**HEADERS, **(headers or {})})


def job_of(stack, answer):
    return stack.get(answer.headers["x-millrace-job-id"])


def stored_request(stack, answer):
    job = answer.headers["x-millrace-job-id"].removeprefix("job_")
    return json.loads(stack.sql("select body from payload where job_id = %s", job)[0][0])["request"]


def test_an_answer_is_a_message_and_a_job(stack):
    script(stack, model="sim-extract", answer="Rhine, Elbe", usage={"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
                                                                    "prompt_tokens_details": {"cached_tokens": 60}})
    answer = message(stack, "two rivers", metadata={"user_id": "alice"}, millrace={"priority": 2})
    assert answer.status == 200, answer
    m, job = answer.json, job_of(stack, answer)
    assert m["id"] == job["id"].replace("job_", "msg_") and m["type"] == "message" and m["role"] == "assistant" and m["model"] == "default"
    assert m["content"] == [{"type": "text", "text": "Rhine, Elbe", "citations": None}]
    assert m["stop_reason"] == "end_turn" and m["stop_sequence"] is None
    assert (m["usage"]["input_tokens"], m["usage"]["cache_read_input_tokens"], m["usage"]["output_tokens"]) == (40, 60, 50)
    assert job["status"] == "succeeded" and job["user"] == "alice" and job["priority"] == 2 and job["route"] == "default"
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert answer.headers["x-millrace-level"] == "primary"


def test_the_key_may_stand_in_x_api_key(stack):
    answer = stack.http(key="").request("POST", "/v1/messages", {"model": "default", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
                                        headers={**HEADERS, "x-api-key": stack.keys["api_key"]}, key="")
    assert answer.status == 200, answer


def test_a_conversation_with_tools_goes_there_and_back(stack):
    script(stack, model="sim-extract", tool_call=True)
    answer = message(stack, "weather in Ulm?", tools=[TOOL], tool_choice={"type": "any"})
    assert answer.status == 200, answer
    (use,) = [block for block in answer.json["content"] if block["type"] == "tool_use"]
    assert use["name"] == "weather" and list(use["input"]) == ["place"] and answer.json["stop_reason"] == "tool_use"
    turns = [{"role": "user", "content": "weather in Ulm?"}, {"role": "assistant", "content": answer.json["content"]},
             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use["id"], "content": [{"type": "text", "text": "sunny"}]}]}]
    script(stack, model="sim-extract", answer="It is sunny.")
    answer = message(stack, messages=turns, tools=[TOOL])
    assert answer.status == 200, answer
    assert answer.json["content"][0]["text"] == "It is sunny." and answer.json["stop_reason"] == "end_turn"
    native = stored_request(stack, answer)["messages"]
    assert [m["role"] for m in native] == ["user", "assistant", "tool"] and native[2] == {"role": "tool", "tool_call_id": use["id"], "content": "sunny"}


def test_an_image_may_be_a_file_that_was_uploaded(stack):
    png = b"\x89PNG\r\n\x1a\n" + bytes(20)
    answer = upload(stack.http(), png, "vision", "a.png", "image/png")
    assert answer.status == 200, answer
    ask = [{"type": "image", "source": {"type": "file", "file_id": answer.json["id"]}}, {"type": "text", "text": "what is it?"}]
    answer = message(stack, ask)
    assert answer.status == 200, answer
    url = stored_request(stack, answer)["messages"][0]["content"][0]["image_url"]["url"]
    assert url == "data:image/png;base64," + base64.b64encode(png).decode()
    missing = message(stack, [{"type": "image", "source": {"type": "file", "file_id": "file-" + "0" * 32}}])
    assert missing.status == 404 and missing.json["error"]["type"] == "not_found_error", missing


def test_mistakes_are_anthropics_errors(stack):
    cases = [
        ({"max_tokens": None}, 400, "invalid_request_error", "max_tokens"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, 400, "invalid_request_error", "messages[0].content[0].source.type"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, 400, "invalid_request_error", "tools[0].type"),
        ({"model": "no such thing"}, 404, "not_found_error", "model"),
        ({"millrace": {"priority": 77}}, 400, "invalid_request_error", "millrace.priority"),
    ]
    for fields, status, kind, where in cases:
        answer = message(stack, **fields)
        assert answer.status == status, (fields, answer)
        assert answer.json["type"] == "error" and answer.json["error"]["type"] == kind, answer
        assert answer.json["error"]["message"].startswith(where + ": "), answer
        assert answer.json["request_id"] == answer.headers["request-id"] and answer.headers["x-should-retry"] == "false"
    answer = stack.http(key="mr_wrong").post("/v1/messages", {}, headers=HEADERS)
    assert (answer.status, answer.json["error"]["type"]) == (401, "authentication_error")
    answer = stack.http().get("/v1/messages/nothing", headers=HEADERS)
    assert (answer.status, answer.json["error"]["type"]) == (404, "not_found_error") and answer.headers["request-id"]


@pytest.mark.parametrize("rule,status,kind", [
    ({"error_class": "context_window"}, 400, "invalid_request_error"),
    ({"error_class": "content_filter"}, 400, "invalid_request_error"),
])
def test_failures_of_providers_are_anthropics_errors(stack, rule, status, kind):
    script(stack, model="sim-extract", **rule)
    answer = message(stack)
    assert (answer.status, answer.json["error"]["type"]) == (status, kind), answer
    assert job_of(stack, answer)["status"] == "failed"


def test_limits_at_the_door_are_told_in_anthropics_words(make_stack):
    stack = make_stack(config={"tiers": {"t": {"submit": 2}}, "rates": {"keys": {"*": "t"}}})
    good, last, over = [message(stack) for _ in range(3)]
    assert (good.status, last.status, over.status) == (200, 200, 429) and over.json["error"]["type"] == "rate_limit_error"
    for answer, left in ((good, "1"), (last, "0"), (over, "0")):
        assert answer.headers["anthropic-ratelimit-requests-limit"] == "2" and answer.headers["anthropic-ratelimit-requests-remaining"] == left
        reset = datetime.datetime.fromisoformat(answer.headers["anthropic-ratelimit-requests-reset"].replace("Z", "+00:00")).timestamp()
        assert -5 < reset - time.time() < 65 and "x-ratelimit-limit-requests" not in answer.headers
    assert int(over.headers["Retry-After"]) >= 1


def test_a_repeat_with_its_key_is_the_same_message(stack):
    first = message(stack, headers={"Idempotency-Key": "m-1"})
    again = message(stack, headers={"Idempotency-Key": "m-1"})
    assert first.status == again.status == 200
    assert first.json == again.json and again.headers["Idempotent-Replayed"] == "true"


def test_tokens_are_counted_without_a_provider(stack):
    ask = {"model": "default", "messages": [{"role": "user", "content": "x" * 4000}]}
    answer = stack.http().post("/v1/messages/count_tokens", ask, headers=HEADERS)
    assert answer.status == 200 and 1000 <= answer.json["input_tokens"] <= 1200, answer
    assert stack.http().post("/v1/messages/count_tokens", {"model": "default"}, headers=HEADERS).json["error"]["message"].startswith("messages: ")
    assert stack.simulator.http().get("/_control/calls").json["calls"] in (0, [])


def test_what_the_job_lacks_is_told_in_the_clients_words(make_stack):
    stack = make_stack(workers=0, config={"models": None})
    blocks = [{"type": "text", "text": "a"}, {"type": "document", "context": "c", "source": {"type": "file", "file_id": "file-" + "0" * 32}}]
    answer = message(stack, blocks, system="Be brief.")
    assert answer.status == 404 and answer.json["error"]["message"].startswith("messages[0].content[1].source.file_id: "), answer
    answer = message(stack, tools=[TOOL], tool_choice={"type": "tool", "name": "other"})
    assert answer.status == 400 and answer.json["error"]["message"].startswith("tool_choice.name: "), answer
    answer = stack.http().post("/v1/messages/count_tokens", {"model": "no-such", "messages": [{"role": "user", "content": "x"}]}, headers=HEADERS)
    assert answer.status == 404 and answer.json["error"]["type"] == "not_found_error", answer


def test_models_answer_in_the_callers_form(stack):
    models = stack.http().get("/v1/models", headers=HEADERS)
    assert models.json["data"][0]["type"] == "model" and models.headers["request-id"]


# --- streams ---

def events(answer):
    """(event, data) of a stream; each data names its event."""
    found = []
    for block in answer.text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            event, data = lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))
            assert data["type"] == event and len(lines) == 2, block
            found.append((event, data))
    return found


def test_a_stream_tells_the_same_message(stack):
    script(stack, model="sim-extract", answer="Rhine, Elbe, Oder, Weser, Ems", chunk_bytes=3)
    whole = message(stack, "rivers").json
    answer = message(stack, "rivers", stream=True)
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/event-stream"), answer
    told = events(answer)
    names = [name for name, _ in told]
    assert names[:3] == ["message_start", "ping", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    head, tail = told[0][1]["message"], told[-2][1]
    assert head["id"] == answer.headers["x-millrace-job-id"].replace("job_", "msg_") and head["content"] == []
    assert "".join(e["delta"]["text"] for name, e in told if name == "content_block_delta") == whole["content"][0]["text"]
    assert tail["delta"]["stop_reason"] == whole["stop_reason"] and tail["usage"] == whole["usage"]


def test_a_stream_of_a_tool_call(stack):
    script(stack, model="sim-extract", tool_call=True, chunk_bytes=2)
    answer = message(stack, "weather in Ulm?", tools=[TOOL], stream=True)
    told = events(answer)
    (start,) = [e for name, e in told if name == "content_block_start"]
    assert start["content_block"]["type"] == "tool_use" and start["content_block"]["name"] == "weather" and start["content_block"]["input"] == {}
    assert list(json.loads("".join(e["delta"]["partial_json"] for name, e in told if name == "content_block_delta"))) == ["place"]
    assert told[-2][1]["delta"]["stop_reason"] == "tool_use"


def test_a_stream_that_fails_before_its_text_is_an_error_with_its_status(stack):
    script(stack, model="sim-extract", error_class="context_window")
    answer = message(stack, stream=True)
    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error"), answer


# --- a provider that speaks Anthropic's own form ---

@pytest.fixture
def claude(make_stack):
    stack = make_stack(start=False)
    target = {"provider": "anthropic", "model": "sim-claude", "base_url": stack.simulator.base_url, "api_key": "sk-simulator"}
    for process in (*stack.apis, *stack.workers):
        process.config["targets"]["sim"] = target
    return stack.start()


def test_thoughts_come_signed_and_go_back_untouched(claude):
    script(claude, model="sim-claude", thinking="let me see", answer="42")
    asked = dict(max_tokens=4096, thinking={"type": "enabled", "budget_tokens": 2048})
    whole = message(claude, "what?", **asked).json
    thought, text = whole["content"]
    assert thought["type"] == "thinking" and thought["thinking"] == "let me see" and thought["signature"] and text["text"] == "42"
    told = events(message(claude, "what?", stream=True, **asked))
    deltas = [e["delta"] for name, e in told if name == "content_block_delta"]
    assert "".join(d["thinking"] for d in deltas if d["type"] == "thinking_delta") == "let me see"
    assert [d["signature"] for d in deltas if d["type"] == "signature_delta"] == [thought["signature"]]
    turns = [{"role": "user", "content": "what?"}, {"role": "assistant", "content": whole["content"]}, {"role": "user", "content": "sure?"}]
    again = message(claude, messages=turns, **asked)
    assert again.status == 200, again
    assert stored_request(claude, again)["messages"][1] == {"role": "assistant", "content": "42", "thinking_blocks": [thought]}


def test_marks_of_the_prompt_cache_reach_the_provider_and_ask_nothing_new(claude):
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    asked = {"system": [{"type": "text", "text": "Be brief.", **mark}], "tools": [{**TOOL, **mark}], "millrace": {"cache": {"mode": "exact"}}}
    first = message(claude, [{"type": "text", "text": "hello", **mark}], **asked)
    assert first.status == 200 and stored_request(claude, first)["messages"][1] == {"role": "user", "content": "hello", **mark}, first
    again = message(claude, [{"type": "text", "text": "hello"}], **asked)
    assert again.headers["x-millrace-cached"] == "true" and again.json["content"] == first.json["content"]
    over = message(claude, [{"type": "text", "text": str(i), **mark} for i in range(5)])
    assert over.status == 400 and over.json["error"]["message"].startswith("messages[0].content[4].cache_control: "), over
