# SPDX-License-Identifier: Apache-2.0
"""GET /v1/jobs/{id}/events: whoever follows a job, from when on and through whichever api processes, has exactly its text and its end."""

import json
import socket
import time
from urllib.parse import urlsplit

from events import Crowd, Parser, Stream, contents, follow, names, told
from faults import script
from stack import create_key, wait_until

WORDS = "".join(f"wört{i} " for i in range(40))


def content_of(job):
    return job["result"]["choices"][0]["message"]["content"]


def chunks(stack, job_id=None):
    return stack.sql("select count(*) from chunk")[0][0] if job_id is None else stack.sql(
        "select count(*) from chunk where job_id = %s", job_id.removeprefix("job_"))[0][0]


def assert_whole(events, job):
    """The last event is the end, with the job as it stands, and the text is the result's."""
    assert names(events)[-1] == "end" and names(events).count("end") == 1
    assert events[-1].data == job
    assert told(events) == contents(events) == content_of(job)
    assert len({e.id for e in events}) == len(events)


def test_text_comes_while_the_job_runs_and_is_the_results(stack):
    script(stack, model="sim-extract", answer=WORDS, between_ms=80, chunk_bytes=12)
    job = stack.submit()
    texts_before = 0
    with Stream(stack.http(), job["id"]) as stream:
        assert stream.status == 200
        assert stream.response.headers["Content-Type"] == "text/event-stream"
        events = []
        for event in stream:
            events.append(event)
            if event.name == "text" and not texts_before:
                assert stack.get(job["id"])["status"] == "running"
                texts_before = 1
    assert_whole(events, stack.get(job["id"]))
    assert names(events).count("text") > 5 and "restart" not in names(events)
    statuses = [e.data["status"] for e in events if e.name == "status"]
    assert statuses[-1] == "running" and names(events).index("text") > names(events).index("status")


def test_every_id_resumes_with_exactly_the_rest_on_any_process(make_stack):
    stack = make_stack(apis=2)
    script(stack, model="sim-extract", answer=WORDS, between_ms=15, chunk_bytes=20)
    job = stack.submit()
    events = follow(stack.http(0), job["id"])
    assert_whole(events, stack.wait_for(job["id"]))
    for n, event in enumerate(events[:-1]):
        rest = follow(stack.http(1 - n % 2), job["id"], last=event.id)
        assert_whole(events[: n + 1] + rest, events[-1].data)
        assert "restart" not in names(rest)
    # What was written of it may be gone by then.
    stack.sql("delete from chunk")
    for event in events[1:-1:4]:
        rest = follow(stack.http(1), job["id"], query=f"?last_event_id={event.id}")
        assert told(events[: events.index(event) + 1] + rest) == WORDS
    last = stack.http(1).get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": events[-1].id})
    assert last.status == 204 and last.body == b""


def test_resuming_while_it_runs_leaves_no_gap_and_repeats_nothing(make_stack):
    """Each connection is given up after two events; the next one is to the other process."""
    stack = make_stack(apis=2)
    script(stack, model="sim-extract", answer=WORDS, between_ms=120, chunk_bytes=12)
    job, events, last, n = stack.submit(), [], None, 0
    while not events or events[-1].name != "end":
        with Stream(stack.http(n % 2), job["id"], last=last) as stream:
            for _, event in zip(range(2), stream):
                events.append(event)
                last = event.id
        n += 1
    assert n > 5
    assert_whole(events, stack.get(job["id"]))
    assert "restart" not in names(events)


def test_who_comes_in_the_middle_has_all_of_it_and_before_nothing_is_written(stack):
    script(stack, model="sim-extract", answer=WORDS, between_ms=100, chunk_bytes=12)
    job = stack.submit()
    stack.wait_for(job["id"], "running")
    time.sleep(0.3)  # what would be written by mistake is written within it
    assert chunks(stack) == 0
    events = follow(stack.http(), job["id"])
    assert_whole(events, stack.get(job["id"]))
    assert names(events).count("text") > 2


def test_who_comes_after_the_end_has_it_at_once_and_nothing_was_written(stack):
    job = stack.submit()
    ended = stack.wait_for(job["id"])
    events = follow(stack.http(), job["id"])
    assert names(events) == ["text", "end"]
    assert_whole(events, ended)
    assert chunks(stack) == 0


def test_two_followers_have_the_same(make_stack):
    stack = make_stack(apis=2)
    script(stack, model="sim-extract", answer=WORDS, between_ms=20, chunk_bytes=12)
    job = stack.submit()
    with Stream(stack.http(0), job["id"]) as one, Stream(stack.http(1), job["id"]) as two, Stream(stack.http(1), job["id"]) as three:
        streams = [list(one), list(two), list(three)]
    for events in streams:
        assert_whole(events, stack.get(job["id"]))
    assert len(chunk_texts(streams[0])) > 5


def in_seconds(n):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + n))


def chunk_texts(events):
    return [e.data["text"] for e in events if e.name == "text"]


def test_a_new_attempt_begins_anew(stack):
    script(stack, model="sim-extract", answer=WORDS, between_ms=20, chunk_bytes=12, fail_first=1, cut_after_bytes=2000)
    job = stack.submit()
    events = follow(stack.http(), job["id"])
    assert_whole(events, stack.get(job["id"]))
    assert names(events).count("restart") == 1
    before = events[: names(events).index("restart")]
    assert told(before) and WORDS.startswith(told(before))
    for n, event in enumerate(events[:-1]):
        assert_whole(events[: n + 1] + follow(stack.http(), job["id"], last=event.id), events[-1].data)


def test_states_are_told_as_they_change(stack):
    job = stack.submit(run_at=in_seconds(2))
    events = follow(stack.http(), job["id"])
    statuses = [(e.data["status"], e.data["waiting_for"]) for e in events if e.name == "status"]
    assert statuses[0] == ("scheduled", "run_at")
    assert_whole(events, stack.get(job["id"]))


def test_a_canceled_job_ends_its_stream(stack):
    script(stack, model="sim-extract", answer=WORDS, between_ms=100, chunk_bytes=12)
    job = stack.submit()
    with Stream(stack.http(), job["id"]) as stream:
        events = []
        for event in stream:
            events.append(event)
            if names(events).count("text") == 2:
                assert stack.http().post(f"/v1/jobs/{job['id']}/cancel").status in (200, 202)
    assert events[-1].name == "end" and events[-1].data["status"] == "canceled"
    assert WORDS.startswith(told(events))
    # A waiting one, too.
    later = stack.submit(run_at=in_seconds(3600))
    with Stream(stack.http(), later["id"]) as stream:
        events = []
        for event in stream:
            if not events:
                stack.http().post(f"/v1/jobs/{later['id']}/cancel")
            events.append(event)
    assert names(events) == ["status", "end"] and events[-1].data["status"] == "canceled"


def test_a_failed_job_that_is_retried_goes_on(stack):
    script(stack, model="sim-extract", error_status=400)
    job = stack.submit()
    events = follow(stack.http(), job["id"])
    assert events[-1].data["status"] == "failed" and "text" not in names(events)
    script(stack, model="sim-extract", answer=WORDS, between_ms=20, chunk_bytes=20)
    assert stack.http().post(f"/v1/jobs/{job['id']}/retry").status == 202
    again = follow(stack.http(), job["id"], last=events[-1].id)
    assert_whole(again, stack.get(job["id"]))


def test_embeddings_have_states_and_an_end(stack):
    job = stack.submit({"input": "hello"}, kind="embeddings", route="text-embedding-3-small")
    events = follow(stack.http(), job["id"])
    assert set(names(events)) <= {"status", "end"} and events[-1].data["result"]["data"]


def test_tool_calls_come_whole(stack):
    """Their pieces join to the result's calls."""
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
    script(stack, model="sim-extract", tool_call=True, between_ms=20, chunk_bytes=4)
    job = stack.submit({"messages": [{"role": "user", "content": "Rome"}], "tools": [tool]})
    events = follow(stack.http(), job["id"])
    calls = stack.get(job["id"])["result"]["choices"][0]["message"]["tool_calls"]
    for n in range(len(events) - 1):
        seen = events if n == 0 else events[: n + 1] + follow(stack.http(), job["id"], last=events[n].id)
        joined = {}
        for event in seen:
            if event.name == "restart":
                joined = {}
            for delta in event.data.get("deltas", []):
                for call in delta.get("tool_calls", []):
                    have = joined.setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
                    have["id"] += call.get("id", "")
                    have["name"] += call["function"].get("name", "")
                    have["arguments"] += call["function"]["arguments"]
        assert list(joined.values()) == [{"id": c["id"], **c["function"]} for c in calls]


def test_lost_pieces_lose_no_text(stack):
    """As after a crash of the database: the table is empty, and its job goes on."""
    script(stack, model="sim-extract", answer=WORDS, between_ms=40, chunk_bytes=12)
    job = stack.submit()
    with Stream(stack.http(), job["id"]) as stream:
        early = [event for _, event in zip(range(4), stream)]
    wait_until(lambda: chunks(stack) > 6, 5, "some pieces")
    stack.sql("delete from chunk")
    events = follow(stack.http(), job["id"])
    assert_whole(events, stack.get(job["id"]))
    assert_whole(early + follow(stack.http(), job["id"], last=early[-1].id), stack.get(job["id"]))


def test_old_pieces_are_deleted(make_stack):
    stack = make_stack(config={"events": {"keep": "1s"}})
    script(stack, model="sim-extract", answer=WORDS, between_ms=5, chunk_bytes=20)
    job = stack.submit()
    assert_whole(follow(stack.http(), job["id"]), stack.get(job["id"]))
    wait_until(lambda: chunks(stack) == 0, 20, "the deletion of what is old")


def test_what_cannot_be_followed_is_refused(make_stack):
    stack = make_stack(config={"events": {"followers": 2}}, workers=0)
    here = stack.http()
    job, ended = stack.submit(), stack.submit()
    here.post(f"/v1/jobs/{ended['id']}/cancel")
    path = f"/v1/jobs/{job['id']}/events"
    for bad in ("x", "1.1.1", follow(here, ended["id"])[-1].id):
        answer = here.get(path, headers={"Last-Event-ID": bad})
        assert answer.status == 400 and answer.json["param"] == "Last-Event-ID", answer
        answer = here.get(f"{path}?last_event_id={bad}")
        assert answer.status == 400 and answer.json["param"] == "last_event_id", answer
    answer = here.post(path, {})
    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD"
    answer = here.request("HEAD", path)
    assert answer.status == 200 and answer.body == b"" and answer.headers["Content-Type"] == "text/event-stream"
    assert here.get("/v1/jobs/job_01a1fbf36a6576e180e2140cdf6260dd/events").status == 404
    assert stack.http(key=create_key(stack.db, "other", tenant="others")).get(path).status == 404
    with Stream(here, job["id"]) as one, Stream(here, job["id"]) as two:
        assert next(iter(one)).data["status"] == next(iter(two)).data["status"] == "queued"
        answer = here.get(path)
        assert answer.status == 503 and answer.json["code"] == "overloaded" and int(answer.headers["Retry-After"]) > 0
        assert names(follow(here, ended["id"])) == ["end"]
    wait_until(lambda: Stream(here, job["id"]).status == 200, 5, "room after others left")


def test_a_process_that_shuts_down_ends_its_streams(make_stack):
    stack = make_stack(apis=2)
    script(stack, model="sim-extract", answer=WORDS, between_ms=60, chunk_bytes=12)
    job, events = stack.submit(), []
    with Stream(stack.http(0), job["id"]) as stream:
        for event in stream:  # IncompleteRead would say that it was cut
            events.append(event)
            if names(events).count("text") == 2:
                stack.apis[0].signal(15)
    assert names(events)[-1] == "text"
    events += follow(stack.http(1), job["id"], last=events[-1].id)
    assert_whole(events, stack.wait_for(job["id"], api=1))


def test_a_client_that_does_not_read_is_dropped_and_disturbs_nobody(make_stack):
    stack = make_stack(config={"limits": {"write_stall": "1s"}})
    answer = "".join(f"{i:09d} " for i in range(300000))
    script(stack, model="sim-extract", answer=answer, chunk_bytes=60000, between_ms=20)
    job = stack.submit({"messages": [{"role": "user", "content": "numbers"}], "max_tokens": 1000000})
    parts = urlsplit(stack.url)
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.connect((parts.hostname, parts.port))
    lazy.sendall(f"GET /v1/jobs/{job['id']}/events HTTP/1.0\r\nAuthorization: Bearer {stack.keys['api_key']}\r\n\r\n".encode())
    assert_whole(follow(stack.http(), job["id"]), stack.get(job["id"]))
    wait_until(lambda: "millrace_http_connections 1\n" in stack.admin().get("/metrics").text, 20, "the lazy one being dropped: only this question is left")
    lazy.settimeout(10)
    raw = b""
    try:
        while piece := lazy.recv(65536):
            raw += piece
    except ConnectionResetError:
        pass
    lazy.close()
    events = Parser().feed(raw.partition(b"\r\n\r\n")[2])
    assert "end" not in names(events) and answer.startswith(told(events))
    last = events[-1].id if events else None
    assert_whole(events + follow(stack.http(), job["id"], last=last), stack.get(job["id"]))


def test_a_thousand_streams_go_on_when_their_process_is_killed(make_stack):
    """Half of them follow through a process that dies without a word; all have their text without gap and repeat."""
    stack = make_stack(apis=2, config={"worker": {"slots": 1000, "claim": 200}, "timeout": {"first_token": "60s", "total": "120s", "between_tokens": "60s"}})
    script(stack, model="sim-extract", answer=WORDS, between_ms=250, chunk_bytes=12)
    lines = "\n".join(json.dumps(stack.body(f"job {i}")) for i in range(1000))
    answer = stack.http().request("POST", "/v1/batches", lines.encode(), headers={"Content-Type": "application/x-ndjson"}, timeout=60)
    assert answer.status == 202, answer
    ids = []
    while len(ids) < 1000:
        after = f"&after={ids[-1]}" if ids else ""
        ids += [j["id"] for j in stack.http().get(f"/v1/jobs?limit=100{after}").json["data"]]
    killed = []
    urls = [api.url for api in stack.apis]
    crowd = Crowd(ids, stack.keys["api_key"], lambda n, f: urls[0] if n % 2 and not killed else urls[1])

    def when():
        if not killed and sum(any(e.name == "text" for e in f.events) for f in crowd.followers) > 900:
            killed.append(True)
            stack.apis[0].kill()

    try:
        crowd.run(100, when)
    finally:
        crowd.close()
    assert killed
    assert sum(f.reconnects > 0 for f in crowd.followers) >= 400
    for f in crowd.followers:
        assert f.events[-1].data["status"] == "succeeded", f.events[-1].data["error"]
        assert told(f.events) == contents(f.events) == content_of(f.events[-1].data) == WORDS
        assert f.repeats == 0 and "restart" not in names(f.events)
