# SPDX-License-Identifier: Apache-2.0
"""Streamed chat completions: the text as it comes, exactly the result's, and an end that says how it went."""

import json
from http.client import HTTPConnection

import pytest

from faults import calls, in_flight, script
from stack import wait_until
from test_face_chat import whole_answer

WORDS = "".join(f"wört{i} " for i in range(40))


class Chunks:
    """A streamed answer: its chunks as they come, then `comments`, `done` and `error`."""

    def __init__(self, stack, text="hello", headers=None, api=0, path="/v1/chat/completions", model="default", key=None, **fields):
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, **fields}
        if path == "/v1/completions":
            del body["messages"]
        self.connection, self.response = stack.http(api, key).open("POST", path, body, headers, timeout=60)
        self.status, self.headers = self.response.status, self.response.headers
        self.comments, self.chunks, self.error, self.done = [], [], None, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.connection.close()

    def __iter__(self):
        for line in self.response:
            line = line.decode().rstrip("\n")
            if line.startswith(":"):
                self.comments.append(line)
            elif line == "data: [DONE]":
                self.done = True
            elif line.startswith("data: "):
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    self.error = chunk["error"]
                    continue
                self.chunks.append(chunk)
                yield chunk

    def all(self):
        list(self)
        return self

    @property
    def text(self):
        return "".join(c["choices"][0]["delta"].get("content") or "" for c in self.chunks if c["choices"])

    @property
    def job_id(self):
        return self.headers["x-millrace-job-id"]


def content_of(job):
    return job["result"]["choices"][0]["message"]["content"]


def test_text_comes_while_the_job_runs_and_is_the_results(stack):
    script(stack, model="sim-extract", answer=WORDS, between_ms=80, chunk_bytes=12)
    with Chunks(stack) as stream:
        assert stream.status == 200 and stream.headers["Content-Type"] == "text/event-stream"
        for _ in stream:
            if stream.text:
                break
        assert stack.get(stream.job_id)["status"] == "running"
        stream.all()
    job = stack.get(stream.job_id)
    assert stream.text == content_of(job) == WORDS and stream.done and not stream.error
    first, last = stream.chunks[0], stream.chunks[-1]
    assert first["choices"][0]["delta"]["role"] == "assistant" and first["choices"][0]["finish_reason"] is None
    assert last["choices"][0]["finish_reason"] == "stop" and last["choices"][0]["delta"] == {}
    assert {c["id"] for c in stream.chunks} == {stream.job_id.replace("job_", "chatcmpl-")}
    assert {c["object"] for c in stream.chunks} == {"chat.completion.chunk"} and {c["model"] for c in stream.chunks} == {"default"}
    assert not any("usage" in c for c in stream.chunks)
    assert f": millrace level=primary target=sim cost_usd={job['cost']['usd']} attempts=1" in stream.comments


def test_usage_comes_in_a_last_chunk_where_it_was_asked_for(stack):
    script(stack, model="sim-extract", answer=WORDS, usage={"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12})
    with Chunks(stack, stream_options={"include_usage": True}) as stream:
        stream.all()
    assert stream.chunks[-1]["choices"] == [] and stream.chunks[-1]["usage"]["total_tokens"] == 12
    assert all(c["usage"] is None for c in stream.chunks[:-1]) and stream.done


def test_tool_calls_are_streamed_whole(stack):
    script(stack, model="sim-extract", tool_call=True, between_ms=10, chunk_bytes=4)
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
    with Chunks(stack, "city: Bonn", tools=tools) as stream:
        stream.all()
    call = stack.get(stream.job_id)["result"]["choices"][0]["message"]["tool_calls"][0]
    deltas = [d for c in stream.chunks for d in c["choices"][0]["delta"].get("tool_calls", [])]
    assert {d["index"] for d in deltas} == {0} and deltas[0]["id"] == call["id"]
    assert "".join(d["function"].get("arguments", "") for d in deltas) == call["function"]["arguments"]
    assert "".join(d["function"].get("name", "") for d in deltas) == "weather"
    assert stream.chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def told(stream, index):
    """A choice's text, finish reasons and roles."""
    mine = [c for chunk in stream.chunks for c in chunk["choices"] if c["index"] == index]
    return ("".join(c["delta"].get("content") or "" for c in mine), [c["finish_reason"] for c in mine if c["finish_reason"]],
            [c["delta"]["role"] for c in mine if "role" in c["delta"]])


def test_several_choices_are_streamed_one_after_the_other(stack):
    script(stack, model="sim-extract", raw_body=whole_answer(["one", "two", "three"]))
    key = {"Idempotency-Key": "three"}
    for _ in range(2):
        with Chunks(stack, n=3, headers=key, stream_options={"include_usage": True}) as stream:
            stream.all()
        assert [told(stream, i) for i in range(3)] == [(text, ["stop"], ["assistant"]) for text in ("one", "two", "three")]
        assert stream.done and stream.chunks[-1]["usage"]["total_tokens"] == 3 and stream.chunks[-1]["choices"] == []
    assert len(calls(stack)) == 1
    script(stack, model="sim-extract", raw_body=None, error_class="context_window")
    with Chunks(stack, n=3) as stream:
        assert stream.status == 400


def test_a_client_that_leaves_before_several_choices_are_there_frees_the_call(stack):
    script(stack, model="sim-extract", latency_ms=60000)
    http = stack.http()
    connection = HTTPConnection(http.host, http.port)
    connection.request("POST", "/v1/chat/completions", json.dumps({"model": "default", "messages": [{"role": "user", "content": "x"}], "n": 2, "stream": True}),
                       {"Authorization": f"Bearer {http.key}", "Content-Type": "application/json"})
    wait_until(lambda: in_flight(stack) == 1, 10, "the upstream call")
    connection.close()
    wait_until(lambda: in_flight(stack) == 0, 10, "the upstream call being freed")


def test_log_probabilities_are_streamed_with_their_tokens(stack):
    tokens = [{"token": t, "logprob": -0.5, "bytes": list(t.encode()), "top_logprobs": []} for t in ("up", "on", " a", " time")]
    script(stack, model="sim-extract", raw_body=whole_answer(["upon a time"], tokens))
    with Chunks(stack, logprobs=True, top_logprobs=0) as stream:
        stream.all()
    got = [(c["delta"]["content"], c["logprobs"]["content"]) for chunk in stream.chunks for c in chunk["choices"] if c["logprobs"]]
    assert got == [(t["token"], [t]) for t in tokens] and told(stream, 0) == ("upon a time", ["stop"], ["assistant"]) and stream.done


def test_functions_are_streamed_in_their_own_form(stack):
    script(stack, model="sim-extract", tool_call=True, between_ms=10, chunk_bytes=4)
    functions = [{"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]
    with Chunks(stack, "city: Bonn", functions=functions) as stream:
        stream.all()
    call = stack.get(stream.job_id)["result"]["choices"][0]["message"]["tool_calls"][0]["function"]
    pieces = [c["choices"][0]["delta"]["function_call"] for c in stream.chunks if "function_call" in c["choices"][0]["delta"]]
    assert "".join(p.get("name", "") for p in pieces) == "weather" and "".join(p["arguments"] for p in pieces) == call["arguments"]
    assert stream.chunks[-1]["choices"][0]["finish_reason"] == "function_call" and "tool_calls" not in json.dumps(stream.chunks)


def test_a_client_that_leaves_frees_the_upstream_call(stack):
    script(stack, model="sim-extract", answer=WORDS * 100, between_ms=50, chunk_bytes=12)
    stream = Chunks(stack)
    for _ in stream:
        if stream.text:
            break
    assert in_flight(stack) == 1
    stream.close()
    wait_until(lambda: in_flight(stack) == 0, 10, "the upstream call being freed")
    assert stack.wait_for(stream.job_id, "canceled")
    assert [c["canceled"] for c in calls(stack)] == [True]


def test_a_keyed_stream_goes_on_without_its_client_and_is_made_again(stack):
    script(stack, model="sim-extract", answer=WORDS, between_ms=25, chunk_bytes=12)
    key = {"Idempotency-Key": "stream-1"}
    stream = Chunks(stack, headers=key)
    for _ in stream:
        if stream.text:
            break
    stream.close()
    with Chunks(stack, headers=key) as second:  # while it runs
        second.all()
    with Chunks(stack, headers=key) as third:   # after its end
        third.all()
    assert second.text == third.text == WORDS and second.done and third.done
    assert second.headers["Idempotent-Replayed"] == third.headers["Idempotent-Replayed"] == "true"
    assert {stream.job_id} == {second.job_id, third.job_id} and len(calls(stack)) == 1


def test_a_job_that_fails_before_any_text_is_answered_with_its_status(stack):
    script(stack, model="sim-extract", error_class="context_window")
    with Chunks(stack) as stream:
        error = json.loads(stream.response.read())["error"]
    assert stream.status == 400 and error["code"] == "context_length_exceeded"
    assert stream.headers["x-millrace-job-id"] and stream.headers["x-should-retry"] == "false"
    assert stack.get(stream.job_id)["status"] == "failed"


def test_another_attempt_with_the_same_text_goes_on_where_the_first_broke(stack):
    script(stack, model="sim-extract", answer=WORDS, between_ms=20, chunk_bytes=12, cut_after_bytes=4000, fail_first=1)
    with Chunks(stack) as stream:
        stream.all()
    assert len(calls(stack)) == 2 and stream.text == WORDS and stream.done and not stream.error




@pytest.mark.parametrize("headers, status", [(None, "canceled"), ({"Idempotency-Key": "k"}, "succeeded")])
def test_another_attempt_with_another_text_ends_the_stream(stack, headers, status):
    script(stack, model="sim-extract", answer=WORDS, between_ms=80, chunk_bytes=12, cut_after_bytes=4000, fail_first=1)
    with Chunks(stack, headers=headers) as stream:
        for _ in stream:
            if stream.text:
                break
        script(stack, model="sim-extract", answer="ANOTHER " * 60, between_ms=30, chunk_bytes=12)
        stream.all()
    assert stream.error["code"] == "stream_restarted" and stream.job_id in stream.error["message"] and not stream.done
    assert WORDS.startswith(stream.text) and stream.text
    stack.wait_for(stream.job_id, status)


def test_a_repeated_stream_begins_with_the_attempt_that_runs(stack):
    key = {"Idempotency-Key": "k"}
    script(stack, model="sim-extract", answer=WORDS, between_ms=30, chunk_bytes=12, cut_after_bytes=4000, fail_first=1)
    with Chunks(stack, headers=key) as stream:
        for _ in stream:
            if stream.text:
                break
        script(stack, model="sim-extract", answer="ANOTHER " * 60, between_ms=50, chunk_bytes=12)
        stream.all()
    assert stream.error["code"] == "stream_restarted"
    with Chunks(stack, headers=key) as again:
        for _ in again:
            if again.text:
                break
        assert stack.get(stream.job_id)["status"] == "running"
        again.all()
    assert again.job_id == stream.job_id and again.text == "ANOTHER " * 60 and again.done and not again.error
    assert len(calls(stack)) == 2


def test_a_job_that_fails_after_text_says_so_in_the_stream(stack):
    script(stack, model="sim-extract", answer=WORDS, between_ms=20, chunk_bytes=12, stream_error={"class": "content_filter", "after_bytes": 4000})
    with Chunks(stack) as stream:
        stream.all()
    assert stream.status == 200 and stream.text and not stream.done
    assert stream.error["code"] == stack.get(stream.job_id)["error"]["code"]


def test_a_draining_process_ends_its_streams_or_says_that_it_cannot(make_stack):
    stack = make_stack(apis=2, config={"server": {"grace": "2s"}})
    script(stack, model="sim-extract", answer=WORDS, between_ms=20, chunk_bytes=24)  # about half a second
    with Chunks(stack) as short:
        next(iter(short))
        script(stack, model="sim-extract", answer=WORDS, between_ms=500, chunk_bytes=12)
        with Chunks(stack) as long:
            next(iter(long))
            stack.apis[0].term()
            short.all()
            long.all()
    assert short.text == WORDS and short.done
    assert long.error["code"] == "draining" and not long.done
    stack.wait_for(long.job_id, "canceled", api=1)


def test_completions_are_streamed_as_text(stack):
    script(stack, model="sim-extract", answer=WORDS, between_ms=5, chunk_bytes=12)
    with Chunks(stack, path="/v1/completions", prompt="once", max_tokens=500) as stream:
        stream.all()
    assert {c["object"] for c in stream.chunks} == {"text_completion"} and stream.done
    assert "".join(c["choices"][0]["text"] for c in stream.chunks) == WORDS
    assert [c["choices"][0]["finish_reason"] for c in stream.chunks[-2:]] == [None, "stop"]


def test_completions_stream_several_choices(stack):
    script(stack, model="sim-extract", raw_body=whole_answer(["one", "two"]))
    with Chunks(stack, path="/v1/completions", prompt="once", n=2, echo=True) as stream:
        stream.all()
    texts = ["".join(c["text"] for chunk in stream.chunks for c in chunk["choices"] if c["index"] == i) for i in range(2)]
    assert texts == ["onceone", "oncetwo"] and stream.done
