# SPDX-License-Identifier: Apache-2.0
"""Chat completions as OpenAI answers them, each of them a durable job: its end is the answer, whatever happens on the way."""

import json
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from faults import calls, in_flight, script
from stack import wait_until

MESSAGES = [{"role": "user", "content": "hello"}]


def chat(stack, text="hello", headers=None, api=0, path="/v1/chat/completions", timeout=30, **fields):
    body = {"model": "default", "messages": [{"role": "user", "content": text}], **fields}
    return stack.http(api).post(path, body, headers=headers, timeout=timeout)


def whole_answer(texts, logprobs=None):
    """A provider's answer with a choice for each text."""
    choices = [{"index": i, "message": {"role": "assistant", "content": text, "refusal": None}, "finish_reason": "stop",
                "logprobs": {"content": logprobs, "refusal": None} if logprobs else None} for i, text in enumerate(texts)]
    return json.dumps({"id": "x", "object": "chat.completion", "model": "sim-extract", "choices": choices,
                       "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}})


def job_of(stack, answer):
    return stack.get(answer.headers["x-millrace-job-id"])


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


@pytest.mark.parametrize("model, status", [("sim", 200), ("small", 400)])
def test_several_choices_where_the_target_has_them(make_stack, model, status):
    stack = make_stack(config={"targets": {"small": {"provider": "anthropic", "model": "small", "base_url": "http://127.0.0.1:9", "api_key": "x"}}})
    script(stack, model="sim-extract", raw_body=whole_answer(["answer 0", "answer 1"]))
    answer = chat(stack, model=model, n=2)
    assert answer.status == status, answer
    if status == 200:
        assert [c["message"]["content"] for c in answer.json["choices"]] == ["answer 0", "answer 1"]
    else:
        assert answer.json["error"]["param"] == "n" and answer.json["error"]["code"] == "unsupported_value"


def test_a_file_by_its_id_is_part_of_the_request(stack):
    boundary = "x" * 20
    form = "".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n{value}\r\n' for name, extra, value in (
        ("purpose", "", "user_data"), ("file", '; filename="a.txt"', "The invoice number is 4711."))) + f"--{boundary}--\r\n"
    file = stack.http().post("/v1/files", form.encode(), headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}).json
    parts = [{"type": "text", "text": "Which number?"}, {"type": "file", "file": {"file_id": file["id"]}}]
    answer = chat(stack, messages=[{"role": "user", "content": parts}])
    assert answer.status == 200, answer
    assert [f["bytes"] for c in calls(stack) for f in c["files"]] == [27]
    parts[1]["file"]["file_id"] = "file-" + "0" * 32
    answer = chat(stack, messages=[{"role": "user", "content": parts}])
    assert answer.status == 404 and answer.json["error"]["param"] == "messages[0].content[1].file.file_id", answer


def test_the_form_before_tools_goes_on_working(stack):
    script(stack, model="sim-extract", tool_call=True)
    functions = [{"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]
    asked = chat(stack, "weather in city: Bonn", functions=functions, function_call={"name": "weather"})
    choice = asked.json["choices"][0]
    assert choice["finish_reason"] == "function_call" and choice["message"]["function_call"]["name"] == "weather", asked
    assert json.loads(choice["message"]["function_call"]["arguments"]) and "tool_calls" not in choice["message"]
    script(stack, model="sim-extract", tool_call=None, answer="It rains.")
    dialogue = [{"role": "user", "content": "weather in city: Bonn"}, choice["message"], {"role": "function", "name": "weather", "content": "rain"}]
    answer = chat(stack, messages=dialogue, functions=functions)
    assert answer.json["choices"][0]["message"]["content"] == "It rains.", answer
    stored = [json.loads(body)["request"] for body, in stack.sql("select body from payload order by job_id")][-1]
    assert [m["role"] for m in stored["messages"]] == ["user", "assistant", "tool"] and stored["tools"][0]["function"] == functions[0]
    assert stored["messages"][2]["tool_call_id"] == stored["messages"][1]["tool_calls"][0]["id"] and "functions" not in stored


# --- refusals ---

CALLED = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize("fields, status, code, param", [
    ({"model": None}, 400, "missing_field", "model"),
    ({"model": "no-such"}, 404, "model_not_found", "model"),
    ({"messages": None}, 400, "missing_field", "messages"),
    ({"messages": [{"role": "king", "content": "x"}]}, 400, "out_of_range", "messages[0].role"),
    ({"temperature": 3}, 400, "out_of_range", "temperature"),
    ({"stream": "yes"}, 400, "wrong_type", "stream"),
    ({"stop": [1]}, 400, "wrong_type", "stop[0]"),
    ({"tools": [{"type": "function", "function": {}}]}, 400, "missing_field", "tools[0].function.name"),
    ({"tool_choice": "required"}, 400, "invalid_request", "tool_choice"),
    ({"response_format": {"type": "json_schema"}}, 400, "missing_field", "response_format.json_schema"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,!"}}]}]}, 400, "out_of_range",
     "messages[0].content[0].image_url.url"),
    ({"stream_options": {"include_usage": True}}, 400, "invalid_request", "stream_options"),
    ({"stream": True, "n": 200}, 400, "out_of_range", "n"),
    ({"function_call": "auto"}, 400, "invalid_request", "function_call"),
    ({"functions": [{"name": "f"}, {}]}, 400, "missing_field", "functions[1].name"),
    ({"messages": [CALLED, *MESSAGES, {"role": "user", "content": 7}]}, 400, "wrong_type", "messages[2].content"),
    ({"millrace": {"priority": 11}}, 400, "out_of_range", "millrace.priority"),
    ({"millrace": {"route": "x"}}, 400, "unknown_field", "millrace.route"),
    ({"millrace": {"nothing": 1}}, 400, "unknown_field", "millrace.nothing"),
    ({"millrace": 1}, 400, "wrong_type", "millrace"),
    ({"metadata": 1}, 400, "wrong_type", "metadata"),
])
def test_a_mistake_is_refused_by_the_name_that_the_client_gave_it(door, fields, status, code, param):
    body = {"model": "default", "messages": MESSAGES, **fields}
    answer = door.http().post("/v1/chat/completions", {k: v for k, v in body.items() if v is not None})
    error = answer.json["error"]
    assert (answer.status, error["code"], error["param"]) == (status, code, param), answer
    assert error["type"] == "invalid_request_error" and error["message"] and answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-millrace-job-id"] is None


def test_what_no_sdk_sends_is_refused_too(door):
    http = door.http()
    assert http.post("/v1/chat/completions", b"{", headers={"Content-Type": "application/json"}).json["error"]["code"] == "invalid_json"
    for body, said in ((b"", "there is nothing"), (b'{"model": "\\u0000"}', "\\u0000 is not allowed")):
        answer = http.post("/v1/chat/completions", body, headers={"Content-Type": "application/json"})
        assert answer.status == 400 and said in answer.json["error"]["message"], answer
    assert http.post("/v1/chat/completions", b"[]", headers={"Content-Type": "application/json"}).json["error"]["code"] == "wrong_type"
    assert http.get("/v1/chat/completions").status == 405
    answer = http.post("/v1/chat/completions", {"model": "default", "messages": MESSAGES}, key="mr_wrong")
    assert answer.status == 401 and answer.json["error"]["code"] == "invalid_api_key"


@pytest.fixture
def door(make_stack):
    return make_stack(workers=0, config={"models": None})


# --- failures ---

@pytest.mark.parametrize("rule, status, code, again", [
    ({"error_class": "context_window"}, 400, "context_length_exceeded", "false"),
    ({"error_class": "content_filter"}, 400, "content_filter", "false"),
    ({"error_class": "server_error"}, 502, "transient", "true"),
    ({"error_class": "overloaded"}, 503, "provider_overloaded", "true"),
])
def test_a_job_that_fails_answers_with_its_class(stack, rule, status, code, again):
    script(stack, model="sim-extract", **rule)
    answer = chat(stack, millrace={"max_attempts": 1})
    assert (answer.status, answer.json["error"]["code"]) == (status, code), answer
    assert answer.headers["x-should-retry"] == again and answer.headers["x-millrace-attempts"] == "1"
    assert job_of(stack, answer)["status"] == "failed"


def test_a_keyed_failure_is_not_worth_a_repeat(stack):
    script(stack, model="sim-extract", error_class="server_error")
    answers = [chat(stack, headers={"Idempotency-Key": "k"}, millrace={"max_attempts": 1}) for _ in range(2)]
    assert [a.status for a in answers] == [502, 502] and [a.headers["x-should-retry"] for a in answers] == ["false", "false"]
    assert answers[1].headers["Idempotent-Replayed"] == "true" and len(calls(stack)) == 1


def test_a_job_that_was_canceled_by_another_says_so(stack):
    script(stack, model="sim-extract", hang=True)
    result = []
    thread = threading.Thread(target=lambda: result.append(chat(stack)))
    thread.start()
    job = wait_until(lambda: [r[0] for r in stack.sql("select job_id::text from lease")], 10, "the job running")[0]
    assert stack.http().post(f"/v1/jobs/job_{job.replace('-', '')}/cancel").status in (200, 202)
    thread.join(20)
    assert result[0].status == 409 and result[0].json["error"]["code"] == "canceled" and result[0].headers["x-should-retry"] == "false"


# --- clients that leave, and come back ---

def test_a_client_that_leaves_frees_the_upstream_call(stack):
    script(stack, model="sim-extract", hang=True)
    s = open_socket(stack, {"model": "default", "messages": MESSAGES})
    wait_until(lambda: in_flight(stack) == 1, 10, "the upstream call")
    s.close()
    wait_until(lambda: in_flight(stack) == 0, 10, "the upstream call being freed")
    wait_until(lambda: stack.sql("select status from outcome") == [(5,)], 10, "the job being canceled")
    assert [c["canceled"] for c in calls(stack)] == [True]


def test_a_client_that_leaves_while_its_job_waits_never_pays(make_stack):
    stack = make_stack(workers=0)
    s = open_socket(stack, {"model": "default", "messages": MESSAGES})
    wait_until(lambda: stack.sql("select 1 from ready"), 10, "the job waiting")
    s.close()
    wait_until(lambda: stack.sql("select status from outcome") == [(5,)], 10, "the job being canceled")
    assert stack.sql("select 1 from ready") == []


def test_a_keyed_request_is_answered_after_a_dropped_connection(stack):
    script(stack, model="sim-extract", answer="late", latency_ms=1500)
    body = {"model": "default", "messages": MESSAGES}
    s = open_socket(stack, body, "Idempotency-Key: once\r\n")
    wait_until(lambda: in_flight(stack) == 1, 10, "the upstream call")
    s.close()
    first = stack.http().post("/v1/chat/completions", body, headers={"Idempotency-Key": "once"})  # while it runs
    second = stack.http().post("/v1/chat/completions", body, headers={"Idempotency-Key": "once"})
    for answer in (first, second):
        assert answer.status == 200 and answer.json["choices"][0]["message"]["content"] == "late"
        assert answer.headers["Idempotent-Replayed"] == "true"
    assert first.json == second.json and jobs(stack) == 1 and len(calls(stack)) == 1


def test_a_key_is_for_one_request(stack):
    assert chat(stack, "one", headers={"Idempotency-Key": "k"}).status == 200
    answer = chat(stack, "two", headers={"Idempotency-Key": "k"})
    assert answer.status == 422 and answer.json["error"]["code"] == "idempotency_key_reused"


# --- processes that go ---

def held(stack, n=1, headers=None, **fields):
    """So many requests in threads; returns (threads, answers)."""
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(chat(stack, headers=headers, **fields))) for _ in range(n)]
    for t in threads:
        t.start()
    return threads, answers


def join(threads):
    for t in threads:
        t.join(60)
    assert not any(t.is_alive() for t in threads)


def test_a_draining_process_answers_what_ends_in_time(stack):
    script(stack, model="sim-extract", answer="in time", latency_ms=1500)
    threads, answers = held(stack, 3)
    wait_until(lambda: in_flight(stack) == 3, 10, "the upstream calls")
    stack.apis[0].term()
    join(threads)
    assert [a.status for a in answers] == [200] * 3 and {a.json["choices"][0]["message"]["content"] for a in answers} == {"in time"}


@pytest.mark.parametrize("headers, status", [(None, "canceled"), ({"Idempotency-Key": "k"}, "succeeded")])
def test_what_a_draining_process_cannot_answer_is_sent_away(make_stack, headers, status):
    stack = make_stack(apis=2, config={"server": {"grace": "2s"}})
    script(stack, model="sim-extract", answer="late", latency_ms=4000)
    threads, answers = held(stack, headers=headers)
    wait_until(lambda: in_flight(stack) == 1, 10, "the upstream call")
    stack.apis[0].term()
    join(threads)
    assert answers[0].status == 503 and answers[0].json["error"]["code"] == "draining"
    assert answers[0].headers["Retry-After"] and answers[0].headers["x-should-retry"] == "true"
    job = answers[0].headers["x-millrace-job-id"]
    stack.wait_for(job, status, api=1)
    if headers:  # the repeat finds it, at another process
        assert chat(stack, api=1, headers=headers).headers["x-millrace-job-id"] == job
    assert len(calls(stack)) == 1


def test_a_worker_that_is_killed_delays_the_answer_only(stack):
    script(stack, model="sim-extract", answer="after all", latency_ms=1000)
    threads, answers = held(stack)
    wait_until(lambda: in_flight(stack) == 1, 10, "the upstream call")
    stack.workers[0].kill()
    stack.workers[0].start()
    join(threads)
    assert answers[0].status == 200 and answers[0].json["choices"][0]["message"]["content"] == "after all"


# --- many, and limits ---

def test_64_parallel_chats_each_have_their_own_answer(stack):
    script(stack, model="sim-extract", echo=True, latency_ms=200)
    answers = {}

    def one(i):
        answers[i] = chat(stack, f"number {i}")

    threads = [threading.Thread(target=one, args=(i,)) for i in range(64)]
    for t in threads:
        t.start()
    join(threads)
    assert all(a.status == 200 and a.json["choices"][0]["message"]["content"] == f"number {i}" for i, a in answers.items())
    assert len({a.json["id"] for a in answers.values()}) == 64 == len(calls(stack))


def test_limits_at_the_door_are_told_and_kept(make_stack):
    stack = make_stack(config={"tiers": {"t": {"submit": 2}}, "rates": {"tenants": {"default": "t"}}})
    good = [chat(stack) for _ in range(2)]
    over = chat(stack)
    assert [a.status for a in good] == [200, 200] and good[0].headers["x-ratelimit-limit-requests"] == "2"
    assert good[1].headers["x-ratelimit-remaining-requests"] == "0"
    assert over.status == 429 and over.json["error"]["code"] == "rate_limit_exceeded" and over.headers["Retry-After"]
    assert over.headers["x-should-retry"] == "true" and jobs(stack) == 2


def test_labels_of_other_gateways_become_the_jobs(stack):
    answer = chat(stack, headers={"Helicone-Property-App": "mail", "x-litellm-end-user-id": "bob"})
    job = job_of(stack, answer)
    assert job["metadata"] == {"app": "mail"} and job["user"] == "bob"


# --- completions ---

def test_a_completion_is_a_chat_of_one_message(stack):
    script(stack, model="sim-extract", answer="upon a time")
    answer = stack.http().post("/v1/completions", {"model": "default", "prompt": ["once"], "max_tokens": 7})
    assert answer.status == 200, answer
    c = answer.json
    assert c["object"] == "text_completion" and c["id"].startswith("cmpl-") and c["usage"]["total_tokens"] > 0
    assert c["choices"] == [{"text": "upon a time", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    stored = json.loads(stack.sql("select body from payload")[0][0])["request"]
    assert stored == {"messages": [{"role": "user", "content": "once"}], "max_tokens": 7}
    for fields, param in (({"prompt": ["a", "b"]}, "prompt"), ({"prompt": [1, 2]}, "prompt"), ({"best_of": 2}, "best_of"), ({"suffix": "x"}, "suffix")):
        answer = stack.http().post("/v1/completions", {"model": "default", "prompt": "once", **fields})
        assert answer.status == 400 and answer.json["error"]["param"] == param, answer


def test_a_completion_may_repeat_its_prompt_and_give_log_probabilities(stack):
    top = [{"token": "up", "logprob": -0.25, "bytes": [117, 112]}, {"token": "on", "logprob": -1.5, "bytes": None}]
    script(stack, model="sim-extract", raw_body=whole_answer(["up"], [{"token": "up", "logprob": -0.25, "bytes": [117, 112], "top_logprobs": top}]))
    answer = stack.http().post("/v1/completions", {"model": "default", "prompt": "once", "logprobs": 2}).json
    assert answer["choices"][0]["logprobs"] == {
        "tokens": ["up"], "token_logprobs": [-0.25], "top_logprobs": [{"up": -0.25, "on": -1.5}], "text_offset": [0]}
    script(stack, model="sim-extract", raw_body=None, answer="upon")
    answer = stack.http().post("/v1/completions", {"model": "default", "prompt": "once ", "echo": True}).json
    assert answer["choices"][0]["text"] == "once upon"
