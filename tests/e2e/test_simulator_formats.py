# SPDX-License-Identifier: Apache-2.0
"""The simulated provider in every provider's wire format, over real HTTP: whole answers, streams, errors and headers in the format's own
form; the files that arrive; the limits that a rule enforces and the windows that a test reads.
"""

import base64
import hashlib
import http.client
import json

import pytest

from proc import wait_until
from stack import Simulator

PDF = b"%PDF-1.4\n" + bytes(range(256)) * 40 + b"\n%%EOF"
B64 = base64.b64encode(PDF).decode()
SCHEMA = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}


@pytest.fixture
def sim(workdir):
    simulator = Simulator(workdir).start()
    yield simulator
    simulator.close()


def script(sim, **rule):
    assert sim.http().post("/_control", {"reset": True, "models": {"m": rule}}).status == 200


def sse(text):
    """[(event or None, data)] of a stream, whatever ends its lines."""
    events = []
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        data = lines["data"]
        events.append((lines.get("event"), data if data == "[DONE]" else json.loads(data)))
    return events


class OpenAI:
    name, path = "openai", "/some/base/v1/chat/completions"
    headers = {"Authorization": "Bearer k-right"}
    finishes = {"stop": "stop", "length": "length", "tool": "tool_calls"}

    def body(self, text="hello", stream=False, pdf=None, tool=None, schema=None, limit=None):
        content = [{"type": "text", "text": text}]
        if pdf:
            content.append({"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{pdf}"}})
        body = {"model": "m", "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": content}],
                "stream": stream, "stream_options": {"include_usage": True} if stream else None}
        if tool:
            body["tools"] = [{"type": "function", "function": {"name": tool, "parameters": SCHEMA}}]
        if schema:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        if limit:
            body["max_completion_tokens"] = limit
        return {k: v for k, v in body.items() if v is not None}

    def post(self, sim, headers=None, **fields):
        return sim.http().post(self.path, self.body(**fields), headers=self.headers if headers is None else headers)

    def whole(self, answer):
        """(text, thinking, tool (name, arguments) or None, finish reason)"""
        choice = answer.json["choices"][0]
        message = choice["message"]
        call = (message.get("tool_calls") or [None])[0]
        return (message["content"] or "", message.get("reasoning_content", ""),
                call and (call["function"]["name"], json.loads(call["function"]["arguments"])), choice["finish_reason"])

    def streamed(self, answer):
        *events, last = [data for _, data in sse(answer.text)]
        assert last == "[DONE]"
        deltas = [c["choices"][0]["delta"] for c in events if c["choices"]]
        calls = [d["tool_calls"][0] for d in deltas if "tool_calls" in d]
        tool = (calls[0]["function"]["name"], json.loads("".join(c["function"]["arguments"] for c in calls))) if calls else None
        finish = [c["choices"][0]["finish_reason"] for c in events if c["choices"]][-1]
        return ("".join(d.get("content") or "" for d in deltas), "".join(d.get("reasoning_content", "") for d in deltas), tool, finish)

    def usage(self, answer, stream=False):
        """(all input, of it cached, all output, of it thinking)"""
        usage = [data for _, data in sse(answer.text)][-2]["usage"] if stream else answer.json["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        return (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"], usage["completion_tokens"],
                usage["completion_tokens_details"]["reasoning_tokens"])

    def error(self, answer):
        """(type or status word, code, message)"""
        e = answer.json["error"]
        assert set(e) == {"message", "type", "param", "code"}
        return e["type"], e["code"], e["message"]

    def stream_error(self, event):
        assert event[0] is None
        return event[1]["error"]["type"]


class Azure(OpenAI):
    name, path = "azure", "/openai/deployments/m/chat/completions?api-version=2024-10-21"
    headers = {"api-key": "k-right"}

    def body(self, **fields):
        body = super().body(**fields)
        del body["model"]
        return body

    def error(self, answer):
        e = answer.json["error"]
        return e.get("type"), e["code"], e["message"]

    def stream_error(self, event):
        return event[1]["error"]["code"]


class Anthropic(OpenAI):
    name, path = "anthropic", "/v1/messages"
    headers = {"x-api-key": "k-right", "anthropic-version": "2023-06-01"}
    finishes = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use"}

    def body(self, text="hello", stream=False, pdf=None, tool=None, schema=None, limit=None):
        content = [{"type": "text", "text": text}]
        if pdf:
            content.append({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": pdf}})
        body = {"model": "m", "max_tokens": limit or 1000, "system": [{"type": "text", "text": "Be kind."}],
                "messages": [{"role": "user", "content": content}], "stream": stream}
        if tool:
            body["tools"] = [{"name": tool, "input_schema": SCHEMA}]
        if schema:
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return body

    def whole(self, answer):
        blocks = {block["type"]: block for block in answer.json["content"]}
        if "thinking" in blocks:
            assert answer.json["content"][0]["signature"]
        tool = blocks.get("tool_use")
        return (blocks.get("text", {}).get("text", ""), blocks.get("thinking", {}).get("thinking", ""),
                tool and (tool["name"], tool["input"]), answer.json["stop_reason"])

    def streamed(self, answer):
        events = sse(answer.text)
        assert all(name == data["type"] for name, data in events)
        names = [name for name, _ in events]
        assert names[0] == "message_start" and names[-2:] == ["message_delta", "message_stop"] and "ping" in names
        blocks = [data["content_block"] for name, data in events if name == "content_block_start"]
        assert names.count("content_block_stop") == len(blocks)
        texts = {}
        for name, data in events:
            if name == "content_block_delta":
                kind = data["delta"]["type"]
                field = {"input_json_delta": "partial_json"}.get(kind, kind.removesuffix("_delta"))
                assert blocks[data["index"]]["type"] == {"text_delta": "text", "input_json_delta": "tool_use"}.get(kind, "thinking")
                texts[kind] = texts.get(kind, "") + data["delta"][field]
        tool = next((b for b in blocks if b["type"] == "tool_use"), None)
        return (texts.get("text_delta", ""), texts.get("thinking_delta", ""),
                tool and (tool["name"], json.loads(texts["input_json_delta"])), events[-2][1]["delta"]["stop_reason"])

    def usage(self, answer, stream=False):
        if stream:
            events = sse(answer.text)
            usage, first = events[-2][1]["usage"], events[0][1]["message"]["usage"]
            assert first["input_tokens"] == usage["input_tokens"] and first["output_tokens"] == 1
        else:
            usage = answer.json["usage"]
        cached = usage["cache_read_input_tokens"]
        return (usage["input_tokens"] + cached + usage["cache_creation_input_tokens"], cached, usage["output_tokens"],
                usage.get("output_tokens_details", {}).get("thinking_tokens", 0))

    def error(self, answer):
        body = answer.json
        assert body["type"] == "error" and body["request_id"]
        return body["error"]["type"], None, body["error"]["message"]

    def stream_error(self, event):
        assert event[0] == "error" and event[1]["type"] == "error"
        return event[1]["error"]["type"]


class Gemini(OpenAI):
    name = "gemini"
    headers = {"x-goog-api-key": "k-right"}
    finishes = {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP"}

    def post(self, sim, headers=None, stream=False, **fields):
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return sim.http().post(f"/v1beta/models/m:{method}", self.body(**fields), headers=self.headers if headers is None else headers)

    def body(self, text="hello", pdf=None, tool=None, schema=None, limit=None):
        parts = [{"text": text}]
        if pdf:
            parts.append({"inlineData": {"mimeType": "application/pdf", "data": pdf}})
        body = {"contents": [{"role": "user", "parts": parts}], "systemInstruction": {"parts": [{"text": "Be kind."}]},
                "generationConfig": {"maxOutputTokens": limit or 1000}}
        if tool:
            body["tools"] = [{"functionDeclarations": [{"name": tool, "parameters": {
                "type": "OBJECT", "required": ["city"], "properties": {"city": {"type": "STRING"}}}}]}]
        if schema:
            body["generationConfig"] |= {"responseMimeType": "application/json", "responseJsonSchema": schema}
        return body

    def read(self, chunks):
        parts = [p for c in chunks for p in c["candidates"][0]["content"]["parts"]]
        tool = next((p["functionCall"] for p in parts if "functionCall" in p), None)
        return ("".join(p.get("text", "") for p in parts if not p.get("thought")),
                "".join(p["text"] for p in parts if p.get("thought")), tool and (tool["name"], tool["args"]),
                chunks[-1]["candidates"][0]["finishReason"])

    def whole(self, answer):
        return self.read([answer.json])

    def streamed(self, answer):
        return self.read([data for _, data in sse(answer.text)])

    def usage(self, answer, stream=False):
        usage = (sse(answer.text)[-1][1] if stream else answer.json)["usageMetadata"]
        thoughts = usage.get("thoughtsTokenCount", 0)
        assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"] + thoughts
        return (usage["promptTokenCount"], usage.get("cachedContentTokenCount", 0), usage["candidatesTokenCount"] + thoughts, thoughts)

    def error(self, answer):
        e = answer.json["error"]
        assert e["code"] == answer.status
        return e["status"], None, e["message"]

    def stream_error(self, event):
        return event[1]["error"]["status"]


FORMATS = [OpenAI(), Azure(), Anthropic(), Gemini()]
of_all = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)


@of_all
def test_whole_and_streamed_answers_say_the_same(sim, form):
    text, thought = "Größe und Maß: " + "äöü€\"\\\n" * 9, "Let me think: ß."
    script(sim, answer=text, thinking=thought, chunk_bytes=7, cached_tokens=2)
    whole, stream = form.post(sim), form.post(sim, stream=True)
    assert whole.status == stream.status == 200, whole
    assert whole.headers["Content-Type"] == "application/json"
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    wanted = (text, thought, None, form.finishes["stop"])
    assert form.whole(whole) == wanted and form.streamed(stream) == wanted
    assert len(sse(stream.text)) > 15
    thinking = -(-len(thought.encode()) // 4)
    output = -(-len(text.encode()) // 4) + thinking
    assert form.usage(whole) == form.usage(stream, stream=True) == (2 + 3 + 2 + 3, 2, output, thinking)
    calls = sim.http().get("/_control/calls").json["calls"]
    assert [(c["format"], c["model"], c["stream"], c["input_tokens"], c["output_tokens"]) for c in calls] == [
        (form.name, "m", False, 10, output), (form.name, "m", True, 10, output)]
    assert all(c["at_ms"] <= c["end_ms"] for c in calls)


@of_all
def test_limits_schemas_and_tools(sim, form):
    script(sim, echo=True)
    assert form.whole(form.post(sim, text="abcdefghij", limit=2)) == ("abcdefgh", "", None, form.finishes["length"])
    script(sim, tool_call=True)
    for answer in (form.whole(form.post(sim, text="Paris", tool="weather")),
                   form.streamed(form.post(sim, text="Paris", tool="weather", stream=True))):
        assert answer[0] == "" and answer[2][0] == "weather" and set(answer[2][1]) == {"city"}
        assert answer[3] == form.finishes["tool"]
    assert form.whole(form.post(sim, text="no tool"))[2] is None
    assert set(json.loads(form.whole(form.post(sim, text="Paris", schema=SCHEMA))[0])) == {"city"}


@of_all
def test_files_arrive_as_they_were_sent(sim, form):
    assert form.post(sim, text="tag:pdf Read it", pdf=B64).status == 200
    call, = sim.http().get("/_control/calls?tag=pdf").json["calls"]
    assert call["files"] == [{"type": "application/pdf", "bytes": len(PDF), "sha256": hashlib.sha256(PDF).hexdigest()}]
    assert form.post(sim, pdf="no base64!").status == 400


ERRORS = {  # class: (status, type or status word, code, a part of the message)
    "openai": {
        "rate_limit": (429, "requests", "rate_limit_exceeded", "try again in 7s"),
        "overloaded": (503, "server_error", None, "overloaded"),
        "auth": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key"),
        "billing": (429, "insufficient_quota", "insufficient_quota", "quota"),
        "permission": (403, "invalid_request_error", "unsupported_country_region_territory", "not supported"),
        "not_found": (404, "invalid_request_error", "model_not_found", "`m`"),
        "context_window": (400, "invalid_request_error", "context_length_exceeded", "maximum context length is"),
        "content_filter": (400, "invalid_request_error", "content_policy_violation", "usage policy"),
        "bad_request": (400, "invalid_request_error", None, "not valid"),
        "too_large": (413, "invalid_request_error", None, "too large"),
        "server_error": (500, "server_error", None, "had an error"),
        "quota_day": (429, "requests", "rate_limit_exceeded", "per day"),
        "too_large_for_limit": (429, "tokens", "rate_limit_exceeded", "Request too large"),
        "timeout": (408, "server_error", None, "timed out"),
    },
    "azure": {
        "rate_limit": (429, None, "429", "retry after 7 seconds"), "auth": (401, None, "401", "Access denied"),
        "not_found": (404, None, "DeploymentNotFound", "does not exist"),
        "content_filter": (400, None, "content_filter", "content management policy"),
        "context_window": (400, "invalid_request_error", "context_length_exceeded", "maximum context length is"),
        "server_error": (500, "server_error", "InternalServerError", "error"),
        "overloaded": (503, None, "ServiceUnavailable", "later"),
    },
    "anthropic": {
        "rate_limit": (429, "rate_limit_error", None, "rate limit"), "overloaded": (529, "overloaded_error", None, "Overloaded"),
        "auth": (401, "authentication_error", None, "x-api-key"), "billing": (402, "billing_error", None, "credit balance"),
        "permission": (403, "permission_error", None, "permission"), "not_found": (404, "not_found_error", None, "model: m"),
        "context_window": (400, "invalid_request_error", None, "prompt is too long"),
        "content_filter": (400, "invalid_request_error", None, "content filtering policy"),
        "bad_request": (400, "invalid_request_error", None, "not valid"), "too_large": (413, "request_too_large", None, "maximum size"),
        "server_error": (500, "api_error", None, "Internal"), "quota_day": (429, "rate_limit_error", None, "daily"),
        "timeout": (504, "timeout_error", None, "timed out"),
    },
    "gemini": {
        "rate_limit": (429, "RESOURCE_EXHAUSTED", None, "Please retry in 7.0s"), "overloaded": (503, "UNAVAILABLE", None, "overloaded"),
        "auth": (400, "INVALID_ARGUMENT", None, "API key not valid."), "billing": (403, "PERMISSION_DENIED", None, "billing"),
        "permission": (403, "PERMISSION_DENIED", None, "permission"), "not_found": (404, "NOT_FOUND", None, "models/m"),
        "context_window": (400, "INVALID_ARGUMENT", None, "exceeds the maximum number of tokens allowed"),
        "bad_request": (400, "INVALID_ARGUMENT", None, "invalid argument"),
        "too_large": (400, "INVALID_ARGUMENT", None, "Request payload size exceeds"), "server_error": (500, "INTERNAL", None, "internal"),
        "quota_day": (429, "RESOURCE_EXHAUSTED", None, "quota"), "timeout": (504, "DEADLINE_EXCEEDED", None, "Deadline"),
    },
}


@of_all
def test_errors_have_the_formats_own_shape(sim, form):
    for kind, (status, type_, code, words) in ERRORS[form.name].items():
        script(sim, error_class=kind, retry_after=7)
        answer = form.post(sim)
        assert answer.status == status, (kind, answer)
        got = form.error(answer)
        assert got[:2] == (type_, code) and words in got[2], (kind, got)
        script(sim, stream_error=kind, answer="x" * 200)
        events = sse(form.post(sim, stream=True).text)
        if form.name != "azure":
            assert form.stream_error(events[-1]) == type_, (kind, events[-1])


def test_where_formats_tell_when_to_come_again(sim):
    openai, azure, anthropic, gemini = FORMATS
    script(sim, error_class="rate_limit", retry_after=7)
    assert openai.post(sim).headers["retry-after"] == "7"
    answer = azure.post(sim)
    assert answer.headers["retry-after"] == "7" and answer.headers["retry-after-ms"] == answer.headers["x-ms-retry-after-ms"] == "7000"
    answer = anthropic.post(sim)
    assert answer.headers["retry-after"] == "7" and answer.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    answer = gemini.post(sim)
    assert answer.headers["retry-after"] is None
    details = {d["@type"].rsplit(".", 1)[1]: d for d in answer.json["error"]["details"]}
    assert details["RetryInfo"]["retryDelay"] == "7s" and "PerMinute" in details["QuotaFailure"]["violations"][0]["quotaId"]
    script(sim, error_class="quota_day")
    assert openai.post(sim).headers["retry-after"] == anthropic.post(sim).headers["retry-after"] == "43200"
    assert "12h0m0s" in openai.post(sim).text and "PerDay" in gemini.post(sim).text
    script(sim, headers={"x-should-retry": "false", "x-more": "a b"}, fail_first=1)
    for answer in (anthropic.post(sim), anthropic.post(sim)):
        assert answer.headers["x-should-retry"] == "false" and answer.headers["x-more"] == "a b"
    for name in ("requests", "tokens", "input-tokens", "output-tokens"):
        for what in ("limit", "remaining", "reset"):
            assert anthropic.post(sim).headers[f"anthropic-ratelimit-{name}-{what}"]


def test_gemini_tells_a_blocked_prompt_in_a_good_answer(sim):
    gemini = FORMATS[3]
    script(sim, error_class="content_filter")
    assert gemini.post(sim).json["promptFeedback"]["blockReason"] == "PROHIBITED_CONTENT"
    answer = gemini.post(sim, stream=True)
    assert answer.status == 200 and "candidates" not in sse(answer.text)[0][1]
    script(sim, answer="abc", chunk_bytes=1)
    answer = sim.http().post("/v1beta/models/m:streamGenerateContent", gemini.body())
    assert gemini.read(answer.json)[0] == "abc"  # without alt=sse: one JSON array


@of_all
def test_a_stream_breaks_with_an_error_event(sim, form):
    script(sim, answer="0123456789" * 10, chunk_bytes=10, stream_error={"class": "overloaded", "after_bytes": 700, "message": "Gone."})
    answer = form.post(sim, stream=True)
    whole = answer.text.encode()
    events = sse(answer.text)
    assert answer.status == 200 and len(events) > 1 and "Gone." in json.dumps(events[-1][1])
    assert "error" in events[-1][1] and not any("error" in data for _, data in events[:-1])
    assert len(whole) - len(whole.rstrip().rsplit(b"\n", 1)[-1]) >= 700 - 20
    script(sim, stream_error={"class": "server_error", "after_bytes": 0}, fail_first=1)
    assert len(sse(form.post(sim, stream=True).text)) == 1
    assert form.streamed(form.post(sim, stream=True))[3] == form.finishes["stop"]


@of_all
def test_recorded_answers_go_out_as_they_were(sim, form):
    script(sim, raw_body='{"odd": true}', raw_stream={"base64": base64.b64encode(b"data: {}\r\n\r\n\x00\xff").decode()})
    whole, stream = form.post(sim), form.post(sim, stream=True)
    assert (whole.status, whole.text, whole.headers["Content-Type"]) == (200, '{"odd": true}', "application/json")
    assert stream.body == b"data: {}\r\n\r\n\x00\xff" and stream.headers["Content-Type"].startswith("text/event-stream")
    script(sim, no_usage=True)
    assert "sage" not in form.post(sim).text.replace("message", "") and "token" not in form.post(sim, stream=True).text


def test_usage_can_be_laid_over(sim):
    script(sim, usage={"prompt_tokens": 5, "completion_tokens": None, "prompt_tokens_details": {"cached_tokens": 4}, "cost": 0.5})
    usage = FORMATS[0].post(sim).json["usage"]
    assert usage["prompt_tokens"] == 5 and usage["completion_tokens"] is None and usage["cost"] == 0.5
    assert usage["prompt_tokens_details"] == {"cached_tokens": 4, "audio_tokens": 0}
    script(sim, usage={"cache_creation_input_tokens": 9})
    assert sse(FORMATS[2].post(sim, stream=True).text)[-2][1]["usage"]["cache_creation_input_tokens"] == 9


@of_all
def test_keys_and_models(sim, form):
    script(sim, require_key="k-right")
    assert form.post(sim).status == 200
    wrong = {name: value.replace("right", "wrong") for name, value in form.headers.items()}
    status, type_, _, words = ERRORS[form.name]["auth"]
    answer = form.post(sim, headers=wrong)
    assert answer.status == status and form.error(answer)[0] == type_ and words in form.error(answer)[2]
    script(sim, unknown=True)
    answer = form.post(sim)
    assert answer.status == 404 and form.error(answer)[0] == ERRORS[form.name]["not_found"][1]


def test_strict_formats_refuse_what_is_not_theirs(sim):
    _, azure, anthropic, gemini = FORMATS
    headers = anthropic.headers
    for change, words in [({"seed": 1}, "seed: Extra inputs"), ({"max_tokens": None}, "max_tokens: Field required"),
                          ({"temperature": 1.5}, "temperature"), ({"messages": []}, "at least one message"),
                          ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
                          ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "non-empty"),
                          ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input_audio"),
                          ({"tools": [{"name": "x"}]}, "tools.0.input_schema")]:
        body = {k: v for k, v in (anthropic.body() | change).items() if v is not None}
        answer = sim.http().post("/v1/messages", body, headers=headers)
        assert answer.status == 400 and words in anthropic.error(answer)[2], (change, answer)
    assert "anthropic-version" in sim.http().post("/v1/messages", anthropic.body()).text
    for change, words in [({"seed": 1}, "seed"), ({"contents": []}, "contents is not specified"),
                          ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "valid role"),
                          ({"generationConfig": {"max_tokens": 1}}, "max_tokens")]:
        answer = sim.http().post("/v1beta/models/m:generateContent", gemini.body() | change)
        assert answer.status == 400 and words in gemini.error(answer)[2], (change, answer)
    assert sim.http().post("/v1beta/models/m:generateContent?key=k", gemini.body()).status == 400
    assert sim.http().post("/openai/deployments/m/chat/completions", azure.body()).status == 404
    for path in ("/v1/messages", "/v1beta/models/m:generateContent", "/openai/v1/chat/completions"):
        for body in (b"", b"[]", b"null", b"{", b'{"messages":[[]],"contents":[7],"max_tokens":1,"model":"m"}'):
            assert sim.http().post(path, body, headers=headers).status == 400, (path, body)


def test_gemini_embeds(sim):
    base = "/v1beta/models/m:"
    one = sim.http().post(base + "embedContent", {"content": {"parts": [{"text": "one"}]}, "outputDimensionality": 8}).json
    assert len(one["embedding"]["values"]) == 8
    requests = [{"model": "models/m", "content": {"parts": [{"text": text}]}, "outputDimensionality": 8} for text in ("one", "two")]
    both = sim.http().post(base + "batchEmbedContents", {"requests": requests}).json["embeddings"]
    assert both[0] == one["embedding"] and both[1] != both[0] and len(both) == 2
    for wrong in ({}, {"requests": [{**requests[0], "model": "m"}]}, {"requests": requests[:1] * 101}):
        assert sim.http().post(base + "batchEmbedContents", wrong).status == 400
    same = sim.http().post("/v1/embeddings", {"model": "m", "input": "one", "dimensions": 8}).json["data"][0]["embedding"]
    assert same == one["embedding"]["values"]
    azure = sim.http().post("/openai/deployments/m/embeddings?api-version=1", {"input": "one", "dimensions": 8})
    assert azure.json["data"][0]["embedding"] == same


@of_all
def test_a_limit_refuses_what_is_over_it(sim, form):
    script(sim, enforce_requests=2, answer="abcd")
    answers = [form.post(sim) for _ in range(3)]
    assert [a.status for a in answers] == [200, 200, 429]
    if form.name in ("openai", "azure"):
        assert [a.headers["x-ratelimit-remaining-requests"] for a in answers] == ["1", "0", "0"]
    if form.name == "anthropic":
        assert [a.headers["anthropic-ratelimit-requests-remaining"] for a in answers] == ["1", "0", "0"]
    assert form.error(answers[2])[0] == ERRORS[form.name]["rate_limit"][1]
    if form.name != "gemini":
        assert 1 <= int(answers[2].headers["retry-after"]) <= 60
    script(sim, enforce_tokens=25, answer="abcd")  # a new limit, the same window: 22 tokens are used
    assert form.post(sim).status == 429
    script(sim, enforce_tokens=10, answer="abcd")  # smaller than one call
    assert form.post(sim).status == 429 and "too large" in form.error(form.post(sim))[2]
    seen = sim.http().get("/_control/stats").json
    assert seen["over_limit"] == 4 and seen["by_status"] == {"200": 2, "429": 4}
    over = [c["over"] for c in sim.http().get("/_control/calls").json["calls"]]
    assert over == [None, None, "requests", *["tokens"] * 3]


def test_calls_in_flight_are_limited_and_the_fullest_window_is_told(sim):
    script(sim, max_in_flight=2, latency_ms=60_000, answer="abcd")
    waiting = [http.client.HTTPConnection("127.0.0.1", sim.port, timeout=30) for _ in range(2)]
    for c in waiting:
        c.request("POST", FORMATS[0].path, json.dumps(FORMATS[0].body()))
    wait_until(lambda: sim.http().get("/_control/stats").json["in_flight"] == 2, 15, "two calls in flight")
    refused = FORMATS[0].post(sim)
    assert refused.status == 429 and refused.headers["retry-after"] == "1"
    sim.http().post("/_control", {"models": {"other": {"answer": "abcdefgh"}}})
    sim.http().post("/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "abcd"}]})
    seen = sim.http().get("/_control/windows?seconds=60").json
    assert seen.pop("models") == {
        "m": {"requests": 3, "input_tokens": 30, "output_tokens": 2, "tokens": 32, "in_flight": 3},
        "other": {"requests": 1, "input_tokens": 4, "output_tokens": 2, "tokens": 6, "in_flight": 1}}
    assert seen == {"seconds": 60, "requests": 4, "input_tokens": 34, "output_tokens": 4, "tokens": 38, "in_flight": 3}
    assert sim.http().get("/_control/windows?model=other").json["tokens"] == 6
    assert sim.http().get("/_control/windows?model=none").json["requests"] == 0
    assert sim.http().get("/_control/windows?seconds=0").status == 400
    for c in waiting:
        c.close()
    wait_until(lambda: sim.http().get("/_control/stats").json["in_flight"] == 0, 15, "the end of the calls")
    assert [c["canceled"] for c in sim.http().get("/_control/calls").json["calls"]] == [True, True, False, False]
    sim.http().post("/_control", {"models": {"m": {"latency_ms": 0}}})
    assert FORMATS[0].post(sim).status == 200  # the places are free again
