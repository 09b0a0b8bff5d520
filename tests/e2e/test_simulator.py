# SPDX-License-Identifier: Apache-2.0
"""The simulated provider over real HTTP: its answers, its streams, and every fault that a script can order."""

import base64
import http.client
import json
import math
import socket
import struct
import threading
from pathlib import Path

import pytest

from proc import wait_until
from stack import Simulator

LICENCE = Path("/usr/share/common-licenses/Apache-2.0").read_text()


@pytest.fixture
def sim(workdir):
    simulator = Simulator(workdir).start()
    yield simulator
    simulator.close()


def script(sim, **models):
    answer = sim.http().post("/_control", {"models": {name.replace("_", "-"): rule for name, rule in models.items()}})
    assert answer.status == 200, answer
    return answer.json


def chat(sim, text="hello", model="m", key=None, timeout=30, **fields):
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return sim.http().post("/v1/chat/completions", body, key=key, timeout=timeout)


def events(answer):
    """The data of each event of a stream."""
    return [line[6:] for line in answer.text.split("\n") if line.startswith("data: ")]


def stats(sim):
    return sim.http().get("/_control/stats").json


def test_the_answer_is_about_the_document(sim):
    answer = chat(sim, "Summarise this licence in two sentences:\n\n" + LICENCE, model="gpt-4o-mini")
    assert answer.status == 200
    body = answer.json
    assert body["object"] == "chat.completion" and body["id"].startswith("chatcmpl-") and body["model"] == "gpt-4o-mini"
    text = body["choices"][0]["message"]["content"]
    title, summary = text.split("\n\n")
    assert title == "Apache License, Version 2.0, January 2004"
    one_line = " ".join(LICENCE.split())
    assert all(part.strip(". ") in one_line for part in summary.split(". "))
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == math.ceil(len(text.encode()) / 4)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    for name in ("x-request-id", "openai-processing-ms", "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests",
                 "x-ratelimit-reset-requests", "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens",
                 "x-ratelimit-reset-tokens"):
        assert answer.headers[name], name


def test_a_schema_is_filled(sim):
    schema = {"type": "object", "required": ["title", "summary", "duties"], "additionalProperties": False, "properties": {
        "title": {"type": "string"}, "summary": {"type": "string", "description": "in three sentences"},
        "duties": {"type": "array", "items": {"type": "string"}, "minItems": 2}}}
    answer = chat(sim, LICENCE, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    filled = json.loads(answer.json["choices"][0]["message"]["content"])
    assert set(filled) == {"title", "summary", "duties"}
    assert filled["title"].startswith("Apache License")
    assert len(filled["duties"]) >= 2 and all(isinstance(d, str) for d in filled["duties"])


def test_megabytes_are_read_in_bounded_time(sim):
    answer = chat(sim, "The ship must report to the master of the harbour. " * 100_000)
    assert answer.status == 200
    assert len(answer.json["choices"][0]["message"]["content"]) < 1000
    assert answer.json["usage"]["prompt_tokens"] > 1_000_000


@pytest.mark.parametrize("rule", [{}, {"first_token_ms": 5, "between_ms": 1}, {"slow_bytes_per_s": 100_000}])
def test_a_stream_gives_the_same_text(sim, rule):
    script(sim, m={"answer": "Größe und Maß: " + "äöü€" * 20, "chunk_bytes": 10, **rule})
    answer = chat(sim, stream=True, stream_options={"include_usage": True})
    assert answer.headers["Content-Type"] == "text/event-stream"
    *chunks, last = events(answer)
    assert last == "[DONE]"
    chunks = [json.loads(chunk) for chunk in chunks]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == "Größe und Maß: " + "äöü€" * 20
    assert len(chunks) > 15
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "stop"
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] > 0
    assert len({c["id"] for c in chunks}) == 1


def test_embeddings_are_unit_vectors_that_repeat(sim):
    def vectors(**fields):
        answer = sim.http().post("/v1/embeddings", {"model": "text-embedding-3-small", **fields})
        assert answer.status == 200, answer
        return [item["embedding"] for item in answer.json["data"]]

    a, b = vectors(input=["one", "two"])
    assert len(a) == 1536 and abs(sum(x * x for x in a) - 1) < 1e-4
    assert abs(sum(x * y for x, y in zip(a, b))) < 0.2
    assert vectors(input="one") == [a]
    packed = base64.b64decode(vectors(input="one", encoding_format="base64")[0])
    assert struct.unpack("<1536f", packed) == pytest.approx(a, abs=1e-6)
    short, = vectors(input="one", dimensions=8)
    assert len(short) == 8 and abs(sum(x * x for x in short) - 1) < 1e-4
    assert len(vectors(input=[[1, 2], [3]], dimensions=2)) == 2
    for wrong in ({}, {"input": []}, {"input": ""}, {"input": "x", "dimensions": 0}, {"input": [None]},
                  {"input": "x", "encoding_format": "int8"}):
        answer = sim.http().post("/v1/embeddings", {"model": "e", **wrong})
        assert answer.status == 400 and answer.json["error"]["type"] == "invalid_request_error"


def test_mistakes_get_openais_errors(sim):
    post = sim.http().post
    assert post("/v1/chat/completions", b"{not json").status == 400
    missing = post("/v1/chat/completions", {"model": "m"})
    assert missing.status == 400 and missing.json["error"]["param"] == "messages"
    assert post("/v1/chat/completions", {"messages": []}).json["error"]["param"] == "model"
    assert post("/v1/nope", {}).status == 404
    wrong = sim.http().get("/v1/chat/completions")
    assert wrong.status == 405 and wrong.headers["Allow"] == "POST"
    script(sim, gone={"unknown": True}, locked={"require_key": "sk-right"})
    unknown = chat(sim, model="gone")
    assert unknown.status == 404 and unknown.json["error"]["code"] == "model_not_found"
    assert chat(sim, model="locked").status == 401
    assert chat(sim, model="locked", key="sk-wrong").json["error"]["code"] == "invalid_api_key"
    assert chat(sim, model="locked", key="sk-right").status == 200
    names = [model["id"] for model in sim.http().get("/v1/models").json["data"]]
    assert "locked" in names and "gone" not in names


def test_scripted_failures(sim):
    script(sim, m={"status_sequence": [500, 429, 200], "retry_after": 7})
    first, second, third = chat(sim), chat(sim), chat(sim)
    assert (first.status, second.status, third.status) == (500, 429, 200)
    assert second.headers["Retry-After"] == "7" and second.json["error"]["code"] == "rate_limit_exceeded"
    assert third.headers["Retry-After"] is None
    script(sim, h={"error_status": 502, "error_body": "html", "fail_first": 1})
    assert "<h1>502</h1>" in chat(sim, model="h").text
    assert chat(sim, model="h").status == 200
    script(sim, g={"garbage": True}, s={"garbage": "sse"})
    broken = chat(sim, model="g")
    assert broken.status == 200
    with pytest.raises(ValueError):
        broken.json
    assert "[DONE]" not in chat(sim, model="s", stream=True).text


def test_cuts(sim):
    script(sim, m={"answer": "x" * 1000, "cut_after_bytes": 100, "fail_first": 2})
    for stream in (False, True):
        with pytest.raises(http.client.IncompleteRead) as cut:
            chat(sim, stream=stream)
        assert len(cut.value.partial) == 100
    assert chat(sim).status == 200
    script(sim, r={"cut_before_head": True, "rst": True}, f={"cut_before_head": True})
    with pytest.raises(ConnectionResetError):
        with socket.create_connection(("127.0.0.1", sim.port), timeout=10) as s:
            body = b'{"model":"r","messages":[{"role":"user","content":"x"}]}'
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            s.recv(100)
    with pytest.raises(http.client.RemoteDisconnected):
        chat(sim, model="f")
    assert stats(sim)["by_status"]["0"] == 2


def test_a_hang_ends_when_the_client_leaves(sim):
    script(sim, m={"hang": True})
    with pytest.raises(TimeoutError):
        chat(sim, "tag:hanging", timeout=0.3)
    wait_until(lambda: stats(sim)["in_flight"] == 0, 10, "the end of the call")
    call, = sim.http().get("/_control/calls?tag=hanging").json["calls"]
    assert call["canceled"] and call["status"] == 0


def test_calls_are_counted_by_tag(sim):
    for tag, fields in (("a", {"metadata": {"tag": "a"}}), ("b", {"user": "b"}), ("c", {})):
        chat(sim, "tag:c please", key="sk-one", **fields)
    chat(sim, metadata={"tag": "a"}, key="sk-two")
    seen = stats(sim)
    assert seen["calls"] == 4 and seen["by_text_tag"] == {"a": 2, "b": 1, "c": 1}
    assert seen["by_key"] == {"sk-one": 3, "sk-two": 1} and seen["by_status"] == {"200": 4} and seen["by_model"] == {"m": 4}
    calls = sim.http().get("/_control/calls?tag=a").json["calls"]
    assert [call["seq"] for call in calls] == [1, 4] and all(len(call["sha256"]) == 64 for call in calls)
    assert len(sim.http().get("/_control/calls?limit=2").json["calls"]) == 2
    assert sim.http().get("/_control/calls?limit=0").status == 400
    assert sim.http().post("/_control/stats/reset").status == 200
    assert stats(sim)["calls"] == 0
    assert sim.http().get("/_control/calls").json["calls"] == []


def test_control_says_where_a_mistake_is(sim):
    effective = script(sim, m={"latency_ms": 1})
    assert effective == {"models": {"m": {"latency_ms": 1}}}
    wrong = sim.http().post("/_control", {"models": {"m": {"latency_ms": "soon"}}})
    assert wrong.status == 400 and wrong.json["error"]["param"] == "/models/m/latency_ms"
    assert sim.http().post("/_control", b"{").status == 400
    assert sim.http().get("/_control").json == effective
    assert sim.http().post("/_control", {"reset": True}).json == {"models": {}}


def test_many_calls_wait_at_once(sim):
    count = 200
    script(sim, m={"latency_ms": 60_000, "answer": "late"})
    connections = []
    for _ in range(count):
        c = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=30)
        c.request("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}))
        connections.append(c)
    wait_until(lambda: stats(sim)["in_flight"] == count, 15, "all calls in flight")
    # SIGTERM stops it at once, whatever the calls wait for.
    assert sim.term(10) == 0
    for c in connections:
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            c.getresponse()
        c.close()


def test_a_script_file_is_read_at_the_start(workdir):
    path = workdir / "script.json"
    path.write_text(json.dumps({"models": {"*": {"answer": "from the file"}}}))
    simulator = Simulator(workdir, args=["--script", path]).start()
    assert chat(simulator).json["choices"][0]["message"]["content"] == "from the file"
    simulator.close()
    path.write_text(json.dumps({"models": {"*": {"answers": "x"}}}))
    with pytest.raises(AssertionError, match="/models/\\*/answers"):
        simulator.start()
    simulator.wait(10)
    simulator.expect_bad_end = True


def test_hostile_requests_do_not_stop_it(sim):
    deep = {"$ref": "#"}
    circle = {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]}
    for schema in (deep, circle, {"type": "array", "minItems": 10**12, "items": {"type": "string", "minLength": 10**12}}):
        answer = chat(sim, LICENCE, response_format={"type": "json_schema", "json_schema": {"schema": schema}})
        assert answer.status == 200 and json.loads(answer.json["choices"][0]["message"]["content"]) is not Ellipsis
    for body in (b"", b"[]", b"null", b"[" * 100_000, b'{"model":"\xff"}', b'{"model":"m","messages":[[],{},7]}',
                 b'{"model":"m","messages":{"role":"user"}}'):
        assert sim.http().post("/v1/chat/completions", body).status == 400
    failures = []

    def calls():
        try:
            for _ in range(20):
                assert chat(sim).status == 200
        except Exception as e:  # noqa: BLE001
            failures.append(e)

    threads = [threading.Thread(target=calls) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
