# SPDX-License-Identifier: Apache-2.0
"""OpenAI's Responses API: answered at once or in the background, streamed and taken up again anywhere, and conversations that go on from what is stored."""

import json
import time

import pytest

from faults import calls, in_flight, script
from stack import create_key, wait_until

WORDS = "".join(f"wört{i} " for i in range(40))
NOBODYS = "resp_0123456789abcdef0123456789abcdef"
WEATHER = {"type": "function", "name": "weather", "description": "The weather in a city", "strict": True, "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}}


def ask(stack, given="hello", headers=None, api=0, key=None, **fields):
    return stack.http(api, key).post("/v1/responses", {"model": "default", "input": given, **fields}, headers=headers, timeout=30)


def make(stack, given="hello", **fields):
    answer = ask(stack, given, **fields)
    assert answer.status == 200, answer
    return answer.json


def get(stack, response, api=0, query=""):
    answer = stack.http(api).get(f"/v1/responses/{response['id']}{query}")
    assert answer.status == 200, answer
    return answer.json


def wait(stack, response, status="completed", api=0):
    return wait_until(lambda: (now := get(stack, response, api))["status"] == status and now, 20, f"the response being {status}")


def refused(answer, status, code, param=None):
    assert answer.status == status, answer
    error = answer.json["error"]
    assert (error["code"], error["param"]) == (code, param), error
    return error


def job_of(stack, response, api=0):
    return stack.get(response["id"].replace("resp_", "job_"), api)


def text_of(response):
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"] if part["type"] == "output_text")


class Events:
    """A stream: its events as they come; it checks that their numbers rise and that each says its name twice."""

    def __init__(self, opened, after=-1):
        self.connection, self.response = opened
        self.status, self.headers = self.response.status, self.response.headers
        self.events, self.last = [], after

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.connection.close()

    def __iter__(self):
        name = None
        for line in self.response:
            line = line.decode().rstrip("\n")
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                event = json.loads(line[6:])
                assert event["type"] == name and event["sequence_number"] > self.last
                self.last = event["sequence_number"]
                self.events.append(event)
                yield event

    def all(self):
        list(self)
        return self

    def until_text(self, bytes_=1):
        for _ in self:
            if len(self.text) >= bytes_:
                return self
        raise AssertionError(f"the stream ended: {self.events}")

    @property
    def text(self):
        return "".join(e["delta"] for e in self.events if e["type"] == "response.output_text.delta")

    @property
    def types(self):
        return [e["type"].removeprefix("response.") for e in self.events]

    @property
    def id(self):
        return self.events[0]["response"]["id"]


def stream(stack, given="hello", headers=None, api=0, **fields):
    return Events(stack.http(api).open("POST", "/v1/responses", {"model": "default", "input": given, "stream": True, **fields}, headers, timeout=60))


def take_up(stack, response_id, after=None, api=0):
    query = "?stream=true" + ("" if after is None else f"&starting_after={after}")
    return Events(stack.http(api).open("GET", f"/v1/responses/{response_id}{query}", timeout=60), -1 if after is None else after)


# --- answers ---

def test_an_answer_is_a_response_and_a_job(stack):
    script(stack, answer="Rhine, Elbe", usage={"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150})
    before = int(time.time())
    answer = ask(stack, "two rivers", instructions="be brief", max_output_tokens=100, temperature=0.5, metadata={"customer": "acme"}, user="alice",
                 millrace={"priority": 1})
    assert answer.status == 200, answer
    r = answer.json
    assert r["object"] == "response" and r["status"] == "completed" and r["error"] is None and r["model"] == "default"
    assert before <= r["created_at"] <= r["completed_at"] <= time.time() + 1
    message, = r["output"]
    assert message["type"] == "message" and message["role"] == "assistant" and message["status"] == "completed"
    assert message["content"] == [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Rhine, Elbe"}]
    assert r["usage"] == {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens": 50,
                          "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 150}
    assert r["instructions"] == "be brief" and r["max_output_tokens"] == 100 and r["temperature"] == 0.5
    assert r["metadata"] == {"customer": "acme"} and r["user"] == "alice" and r["store"] is True and r["background"] is False
    job = job_of(stack, r)
    assert answer.headers["x-millrace-job-id"] == job["id"] and answer.headers["x-millrace-target"] == "sim"
    assert job["status"] == "succeeded" and job["metadata"] == {"customer": "acme"} and job["user"] == "alice" and job["priority"] == 1
    request = json.loads(stack.sql("select body from payload")[0][0])["request"]
    assert request["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "two rivers"}]
    assert get(stack, r) == r
    for query in ("", "?stream=true"):
        head = stack.http().request("HEAD", f"/v1/responses/{r['id']}{query}")
        assert (head.status, head.body, head.headers["Content-Type"]) == (200, b"", "application/json")


def test_tools_are_called_and_their_outputs_go_back(stack):
    script(stack, tool_call=True)
    r = make(stack, "weather in city: Bonn", tools=[WEATHER], tool_choice="required")
    call, = r["output"]
    assert call["type"] == "function_call" and call["name"] == "weather" and json.loads(call["arguments"]).keys() == {"city"}
    assert r["tools"] == [WEATHER] and r["tool_choice"] == "required"
    script(stack, answer="sunny")
    history = [{"role": "user", "content": "weather in city: Bonn"}, *r["output"], {"type": "function_call_output", "call_id": call["call_id"], "output": "sun"}]
    assert text_of(make(stack, history, tools=[WEATHER])) == "sunny"


def test_structured_output_is_asked_for(stack):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
    r = make(stack, "city: Bonn", text={"format": {"type": "json_schema", "name": "place", "schema": schema, "strict": True}})
    assert json.loads(text_of(r)).keys() == {"city"} and r["text"]["format"]["name"] == "place"


def test_reasoning_comes_before_the_message(stack):
    script(stack, thinking="hm", answer="yes")
    r = make(stack, reasoning={"effort": "low"})
    assert [item["type"] for item in r["output"]] == ["reasoning", "message"]
    assert r["output"][0]["content"] == [{"type": "reasoning_text", "text": "hm"}] and r["reasoning"]["effort"] == "low"


def test_an_answer_that_is_cut_is_incomplete(stack):
    script(stack, answer="so f", finish_reason="length")
    r = make(stack, max_output_tokens=2)
    assert r["status"] == "incomplete" and r["incomplete_details"] == {"reason": "max_output_tokens"} and text_of(r) == "so f"
    assert r["completed_at"] is None and get(stack, r) == r


@pytest.mark.parametrize("fields, code, param", [
    ({"tools": [{"type": "web_search"}]}, "unsupported_value", "tools[0].type"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "unsupported_value", "input[0].type"),
    ({"conversation": "conv_1"}, "unsupported_value", "conversation"),
    ({"background": True, "store": False}, "invalid_request", "store"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "missing_field", "input[0].content[0].image_url"),
    ({"temperature": 7}, "out_of_range", "temperature"),
    ({"metadata": {"k": "v" * 513}}, "out_of_range", "metadata.k"),
    ({"millrace": {"priority": 12}}, "out_of_range", "millrace.priority"),
    ({"model": "no-such/route"}, "model_not_found", "model"),
    ({"max_output_tokens": "x"}, "wrong_type", "max_output_tokens"),
])
def test_what_cannot_be_carried_out_is_refused_by_name(stack, fields, code, param):
    if "model" in fields:
        stack.apis[0].reconfigure({"models": None})
    refused(ask(stack, **{"given": fields.pop("input", "hello"), **fields}), 404 if code == "model_not_found" else 400, code, param)
    assert stack.sql("select count(*) from job") == [(0,)]


def test_a_failure_is_an_error_of_its_class(stack):
    script(stack, error_class="context_window")
    answer = ask(stack)
    refused(answer, 400, "context_length_exceeded")
    # The response is there all the same.
    kept = get(stack, {"id": answer.headers["x-millrace-job-id"].replace("job_", "resp_")})
    assert kept["status"] == "failed" and kept["error"]["code"] == "invalid_prompt" and kept["output"] == []


# --- in the background ---

def test_a_response_in_the_background_is_polled_to_its_end(make_stack):
    stack = make_stack(apis=2)
    script(stack, answer=WORDS, between_ms=100, chunk_bytes=12)
    r = make(stack, background=True)
    assert r["status"] == "queued" and r["background"] is True and r["output"] == [] and r["usage"] is None
    wait_until(lambda: get(stack, r, 1)["status"] == "in_progress", 10, "the response running")
    done = wait(stack, r, api=1)
    assert text_of(done) == WORDS and done["background"] is True and get(stack, r, 0) == done


def test_a_running_response_is_canceled(stack):
    script(stack, answer=WORDS * 100, between_ms=50, chunk_bytes=12)
    r = make(stack, background=True)
    wait_until(lambda: in_flight(stack) == 1, 10, "the call being out")
    canceled = stack.http().post(f"/v1/responses/{r['id']}/cancel")
    assert canceled.status == 200 and canceled.json["status"] == "cancelled" and canceled.json["output"] == [], canceled
    wait_until(lambda: in_flight(stack) == 0, 10, "the end of the call")
    again = stack.http().post(f"/v1/responses/{r['id']}/cancel")
    assert again.json == canceled.json == get(stack, r)


def test_a_waiting_response_is_canceled_and_never_runs(make_stack):
    stack = make_stack(workers=0)
    r = make(stack, background=True)
    assert r["status"] == "queued"
    assert stack.http().post(f"/v1/responses/{r['id']}/cancel").json["status"] == "cancelled"
    with take_up(stack, r["id"]) as events:
        assert events.all().types == ["created", "queued", "in_progress", "incomplete"]
    assert events.events[-1]["response"]["status"] == "cancelled"


def test_only_what_is_in_the_background_can_be_canceled(stack):
    r = make(stack)
    refused(stack.http().post(f"/v1/responses/{r['id']}/cancel"), 400, "invalid_request")
    # What has ended stays as it is.
    done = wait(stack, make(stack, background=True))
    assert stack.http().post(f"/v1/responses/{done['id']}/cancel").json == done


def test_a_response_in_the_background_that_fails_says_why(stack):
    script(stack, error_class="content_filter")
    r = wait(stack, make(stack, background=True), "incomplete")
    assert r["incomplete_details"] == {"reason": "content_filter"}
    script(stack, error_class="context_window")
    r = wait(stack, make(stack, background=True), "failed")
    assert r["error"]["code"] == "invalid_prompt" and r["error"]["message"]
    with take_up(stack, r["id"]) as events:
        assert events.all().types == ["created", "queued", "in_progress", "failed"]
    assert events.events[-1]["response"]["error"] == r["error"]


# --- streams ---

def test_a_stream_tells_the_response_as_it_comes(stack):
    script(stack, answer=WORDS, between_ms=80, chunk_bytes=12, thinking="well, well")
    with stream(stack) as events:
        assert events.status == 200 and events.headers["Content-Type"] == "text/event-stream"
        events.until_text()
        assert job_of(stack, {"id": events.id})["status"] == "running"
        events.all()
    r = get(stack, {"id": events.id})
    assert events.text == text_of(r) == WORDS
    assert events.events[-1]["type"] == "response.completed" and events.events[-1]["response"] == r
    order = [t for i, t in enumerate(events.types) if not t.endswith("delta") or events.types[i - 1] != t]
    assert order == ["created", "in_progress", "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done",
                     "output_item.done", "output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
                     "output_item.done", "completed"]
    assert [e["item"] for e in events.events if e["type"] == "response.output_item.done"] == r["output"]


def test_tool_calls_are_streamed(stack):
    script(stack, tool_call=True, between_ms=10, chunk_bytes=4)
    with stream(stack, "weather in city: Bonn", tools=[WEATHER]) as events:
        events.all()
    call, = events.events[-1]["response"]["output"]
    assert "".join(e["delta"] for e in events.events if e["type"] == "response.function_call_arguments.delta") == call["arguments"]
    done = next(e for e in events.events if e["type"] == "response.function_call_arguments.done")
    assert (done["arguments"], done["name"], done["item_id"]) == (call["arguments"], "weather", call["id"])


def test_a_stream_that_fails_before_any_text_is_answered_with_its_status(stack):
    script(stack, error_class="context_window")
    with stream(stack) as events:
        assert events.status == 400 and json.loads(events.response.read())["error"]["code"] == "context_length_exceeded"


def test_a_client_that_leaves_frees_the_call_unless_it_is_in_the_background(stack):
    script(stack, answer=WORDS * 3, between_ms=25, chunk_bytes=12)
    left, kept = stream(stack).until_text(), stream(stack, background=True).until_text()
    left.close()
    kept.close()
    assert stack.wait_for(left.id.replace("resp_", "job_"), "canceled")
    assert text_of(wait(stack, {"id": kept.id})) == WORDS * 3


def test_a_stream_goes_on_at_another_api_when_its_own_is_killed(make_stack):
    stack = make_stack(apis=2)
    script(stack, answer=WORDS, between_ms=120, chunk_bytes=12)
    with stream(stack, background=True, api=0) as first:
        first.until_text(len(WORDS) // 4)
        stack.apis[0].kill()
        with take_up(stack, first.id, first.last, api=1) as second:
            second.until_text()
            assert job_of(stack, {"id": first.id}, 1)["status"] == "running"
            second.all()
    assert first.text + second.text == WORDS
    assert (first.types + second.types).count("created") == 1 and second.types[-1] == "completed"
    stack.apis[0].start()


def test_a_stream_is_made_again_after_any_number(stack):
    script(stack, answer=WORDS, between_ms=5, chunk_bytes=7, thinking="well, well")
    with stream(stack, background=True) as live:
        live.all()
    with take_up(stack, live.id) as again:
        again.all()
    assert again.text == live.text == WORDS and again.events[-1] == live.events[-1]
    for i in [0, 1, 2, 5, 6, 9, len(live.events) // 2, len(live.events) - 4, len(live.events) - 2, len(live.events) - 1]:
        had = live.events[:i + 1]
        with take_up(stack, live.id, had[-1]["sequence_number"]) as rest:
            rest.all()
        told = "".join(e["delta"] for e in had if e["type"] == "response.output_text.delta")
        assert told + rest.text == WORDS, i
        assert rest.types[-1:] == (["completed"] if i < len(live.events) - 1 else [])
        assert not rest.events or rest.events[-1] == live.events[-1]


def test_another_attempt_that_says_the_same_goes_on(stack):
    script(stack, answer=WORDS, between_ms=20, chunk_bytes=12, cut_after_bytes=4000, fail_first=1)
    with stream(stack) as events:
        events.all()
    assert len(calls(stack)) == 2 and events.text == WORDS and events.types[-1] == "completed"


@pytest.mark.parametrize("query", ["stream=maybe", "stream=true&starting_after=-1", "stream=true&starting_after=x", "starting_after=5"])
def test_a_query_that_makes_no_sense_is_refused(stack, query):
    refused(stack.http().get(f"/v1/responses/{NOBODYS}?{query}"), 400, "invalid_request", query.rsplit("&", 1)[-1].split("=")[0])


# --- what is stored ---

def messages_of(stack, response):
    return json.loads(stack.sql("select body from payload where job_id = %s", response["id"].removeprefix("resp_"))[0][0])["request"]["messages"]


def test_a_response_goes_on_from_another(stack):
    script(stack, answer="I am well")
    one = make(stack, "how are you?", instructions="be polite")
    two = make(stack, "and your dog?", previous_response_id=one["id"], instructions="be rude")
    assert two["previous_response_id"] == one["id"]
    said = [{"role": "user", "content": "how are you?"}, {"role": "assistant", "content": "I am well"}, {"role": "user", "content": "and your dog?"}]
    assert messages_of(stack, two) == [{"role": "system", "content": "be rude"}, *said]
    three = make(stack, [{"role": "user", "content": "bye"}], previous_response_id=two["id"])
    assert messages_of(stack, three) == [*said, {"role": "assistant", "content": "I am well"}, {"role": "user", "content": "bye"}]
    items = stack.http().get(f"/v1/responses/{three['id']}/input_items?order=asc").json["data"]
    assert [(i["role"], i["content"][0]["text"]) for i in items] == [
        ("user", "how are you?"), ("assistant", "I am well"), ("user", "and your dog?"), ("assistant", "I am well"), ("user", "bye")]


def test_the_output_of_a_tool_goes_on_from_the_call(stack):
    script(stack, tool_call=True)
    one = make(stack, "weather in city: Bonn", tools=[WEATHER])
    script(stack, answer="sunny")
    call = one["output"][0]
    two = make(stack, [{"type": "function_call_output", "call_id": call["call_id"], "output": "sun"}], previous_response_id=one["id"], tools=[WEATHER])
    assert text_of(two) == "sunny"
    assert [m["role"] for m in messages_of(stack, two)] == ["user", "assistant", "tool"]
    items = stack.http().get(f"/v1/responses/{two['id']}/input_items?order=asc").json["data"]
    assert [i["type"] for i in items] == ["message", "function_call", "function_call_output"] and items[1]["arguments"] == call["arguments"]


def test_a_previous_response_that_is_not_there_is_refused(stack):
    theirs = make(stack, key=create_key(stack.db, "spy", tenant="spies"))
    unstored, chat = make(stack, store=False), stack.wait_for(stack.submit()["id"])
    script(stack, answer=WORDS * 100, between_ms=50)
    running = make(stack, background=True)
    for previous in ("nonsense", NOBODYS, theirs["id"], unstored["id"], chat["id"].replace("job_", "resp_"), running["id"]):
        error = refused(ask(stack, previous_response_id=previous), 400, "previous_response_not_found", "previous_response_id")
        assert previous in error["message"]
    stack.http().post(f"/v1/responses/{running['id']}/cancel")


def test_a_response_is_deleted(stack):
    r = make(stack)
    answer = stack.http().delete(f"/v1/responses/{r['id']}")
    assert answer.status == 200 and answer.json == {"id": r["id"], "object": "response", "deleted": True}
    assert stack.sql("select (select count(*) from payload), (select count(*) from result)") == [(0, 0)]
    assert job_of(stack, r)["cost"]["usd"]  # its accounting stays
    for method, path in (("GET", ""), ("GET", "?stream=true"), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
        refused(stack.http().request(method, f"/v1/responses/{r['id']}{path}"), 404, "not_found")


def test_a_running_response_is_canceled_before_it_is_deleted(stack):
    script(stack, answer=WORDS * 100, between_ms=50, chunk_bytes=12)
    r = make(stack, background=True)
    wait_until(lambda: in_flight(stack) == 1, 10, "the call being out")
    assert stack.http().delete(f"/v1/responses/{r['id']}").json["deleted"] is True
    wait_until(lambda: in_flight(stack) == 0, 10, "the end of the call")
    assert job_of(stack, r)["status"] == "canceled"
    refused(stack.http().get(f"/v1/responses/{r['id']}"), 404, "not_found")


def test_a_response_exists_for_its_tenant_and_by_its_own_api(stack):
    r, job = make(stack), stack.wait_for(stack.submit()["id"])
    theirs = stack.http(key=create_key(stack.db, "spy", tenant="spies"))
    for http, response_id in ((theirs, r["id"]), (stack.http(), job["id"].replace("job_", "resp_")), (stack.http(), NOBODYS), (stack.http(), "resp_1")):
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
            refused(http.request(method, f"/v1/responses/{response_id}{path}"), 404, "not_found")


def test_what_is_not_to_be_stored_is_erased_with_the_answer(stack):
    script(stack, answer=WORDS)
    r = make(stack, store=False)
    assert text_of(r) == WORDS and r["store"] is False
    with stream(stack, store=False) as events:
        assert events.all().text == WORDS
    script(stack, error_class="context_window")
    assert ask(stack, store=False).status == 400
    assert stack.sql("select (select count(*) from payload), (select count(*) from result)") == [(0, 0)]
    for response_id in (r["id"], events.id):
        refused(stack.http().get(f"/v1/responses/{response_id}"), 404, "not_found")
        assert stack.get(response_id.replace("resp_", "job_"))["result"] is None


def test_what_is_not_to_be_stored_waits_for_a_repeat_with_its_key(stack):
    script(stack, answer=WORDS)
    key = {"Idempotency-Key": "once"}
    first = ask(stack, store=False, headers=key)
    again = ask(stack, store=False, headers=key)
    assert again.json == first.json and again.headers["Idempotent-Replayed"] == "true" and len(calls(stack)) == 1
    refused(stack.http().get(f"/v1/responses/{first.json['id']}"), 404, "not_found")


def test_input_items_come_in_pages(stack):
    given = [{"role": "user", "content": f"m{i}"} for i in range(5)]
    r = make(stack, given, instructions="not an item")

    def page(query):
        answer = stack.http().get(f"/v1/responses/{r['id']}/input_items{query}")
        assert answer.status == 200 and answer.json["object"] == "list", answer
        return answer.json

    def texts(p):
        return [i["content"][0]["text"] for i in p["data"]]

    assert texts(page("")) == ["m4", "m3", "m2", "m1", "m0"]
    one = page("?order=asc&limit=2")
    assert texts(one) == ["m0", "m1"] and one["has_more"] and (one["first_id"], one["last_id"]) == (one["data"][0]["id"], one["data"][1]["id"])
    two = page(f"?order=asc&limit=3&after={one['last_id']}")
    assert texts(two) == ["m2", "m3", "m4"] and not two["has_more"]
    assert texts(page(f"?limit=2&after={two['data'][0]['id']}")) == ["m1", "m0"]
    nothing = page(f"?order=asc&after={two['last_id']}")
    assert nothing["data"] == [] and nothing["first_id"] is nothing["last_id"] is None
    for query, param in (("?limit=0", "limit"), ("?order=up", "order"), ("?after=msg_1", "after")):
        refused(stack.http().get(f"/v1/responses/{r['id']}/input_items{query}"), 400, "invalid_request", param)
