# SPDX-License-Identifier: Apache-2.0
"""Chat completions as OpenAI answers them, each of them a durable job: its end is the answer, whatever happens on the way."""

import json
import socket
import time
from urllib.parse import urlsplit

from faults import script

MESSAGES = [{"role": "user", "content": "hello"}]


def chat(stack, text="hello", headers=None, api=0, path="/v1/chat/completions", timeout=30, **fields):
    body = {"model": "default", "messages": [{"role": "user", "content": text}], **fields}
    return stack.http(api).post(path, body, headers=headers, timeout=timeout)


def job_of(stack, answer):
    return stack.get(answer.headers["x-millrace-job-id"])


def calls(stack):
    return stack.simulator.http().get("/_control/calls").json["calls"]


def jobs(stack):
    return stack.sql("select count(*) from job")[0][0]


def open_socket(stack, body, headers="", api=0):
    """A request that is sent, and whose client may vanish."""
    url = urlsplit(stack.apis[api].url)
    data = json.dumps(body).encode()
    s = socket.create_connection((url.hostname, url.port), timeout=30)
    s.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.keys['api_key']}\r\n"
              f"Content-Type: application/json\r\n{headers}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return s


# --- the answer ---

def test_an_answer_is_a_chat_completion_and_a_job(stack):
    script(stack, model="sim-extract", answer="Rhine, Elbe, Oder", usage={"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150})
    before = int(time.time())
    answer = chat(stack, "three rivers", metadata={"customer": "acme"}, user="alice")
    assert answer.status == 200, answer
    job = job_of(stack, answer)
    c = answer.json
    assert c["object"] == "chat.completion" and c["id"] == job["id"].replace("job_", "chatcmpl-")
    assert before <= c["created"] <= time.time() + 1
    assert c["model"] == "sim-extract"
    assert c["choices"][0]["message"]["role"] == "assistant" and c["choices"][0]["message"]["content"] == "Rhine, Elbe, Oder"
    assert c["choices"][0]["finish_reason"] == "stop" and c["choices"][0]["index"] == 0
    assert c["usage"]["total_tokens"] == 150
    assert job["status"] == "succeeded" and job["metadata"] == {"customer": "acme"} and job["user"] == "alice" and job["route"] == "default"
    assert job["result"]["choices"][0]["message"]["content"] == "Rhine, Elbe, Oder"
    h = answer.headers
    assert h["x-millrace-level"] == "primary" and h["x-millrace-target"] == "sim" and h["x-millrace-attempts"] == "1"
    assert h["x-millrace-cost-usd"] == job["cost"]["usd"] == "0.000045"
    assert h["x-millrace-cached"] is None and h["x-request-id"] and h["Content-Type"] == "application/json"


def test_what_the_request_says_reaches_the_provider_and_what_is_ours_does_not(stack):
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"city": {"type": "string"}},
                                                                           "required": ["city"], "additionalProperties": False}, "strict": True}}
    answer = chat(stack, "city: Bonn", response_format=schema, temperature=0.5, seed=3, store=True, millrace={"priority": 1, "max_attempts": 2})
    assert answer.status == 200, answer
    assert "city" in json.loads(answer.json["choices"][0]["message"]["content"])
    job = job_of(stack, answer)
    assert job["priority"] == 1 and job["max_attempts"] == 2
    stored = json.loads(stack.sql("select body from payload")[0][0])
    assert sorted(stored) == ["max_attempts", "priority", "request", "route"]
    assert sorted(stored["request"]) == ["messages", "response_format", "seed", "temperature"]


def test_tools_are_called(stack):
    script(stack, model="sim-extract", tool_call=True)
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
    answer = chat(stack, "weather in city: Bonn", tools=tools)
    choice = answer.json["choices"][0]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["tool_calls"][0]["function"]["name"] == "weather"
