# SPDX-License-Identifier: Apache-2.0
"""What becomes of synchronous requests when nobody can be answered any more, and of bodies that may not be kept."""

import threading

import pytest

from faults import calls, in_flight, script, wait_all_ended
from stack import create_key, wait_until

TEXT = "well " * 20


def chat(stack, tag, api=0, headers=None, **fields):
    return stack.http(api).post("/v1/chat/completions", {"model": "default", "messages": [{"role": "user", "content": f"tag:{tag} hello"}], **fields},
                                headers=headers, timeout=60)


class Waiting:
    """A client that waits for its answer in a thread."""

    def __init__(self, ask, *args, **kw):
        self.answer = None
        self.thread = threading.Thread(target=self.run, args=(ask, args, kw), daemon=True)
        self.thread.start()

    def run(self, ask, args, kw):
        try:
            self.answer = ask(*args, **kw)
        except Exception as e:
            self.answer = e

    def wait(self):
        self.thread.join(30)
        assert not self.thread.is_alive()
        return self.answer


def respond(stack, given="hello", api=0, headers=None, **fields):
    return stack.http(api).post("/v1/responses", {"model": "default", "input": given, **fields}, headers=headers, timeout=60)


def statuses(stack):
    """Of all jobs, by the tag of their request."""
    names = {3: "succeeded", 4: "failed", 5: "canceled", 6: "expired"}
    return {tag: names.get(status) for tag, status in stack.sql(
        "select substring(p.body from 'tag:([a-z0-9]+)'), (select max(o.status) from outcome o where o.bucket = p.bucket and o.job_id = p.job_id)"
        " from payload p")}


def apis(stack):
    return stack.sql("select pid, state, swept from api_process order by started_at")


# --- an api process that is gone ---


def test_a_killed_api_takes_along_what_only_its_clients_waited_for(make_stack):
    stack = make_stack(apis=2)
    script(stack, hang=True)
    lost = [Waiting(chat, stack, f"lost{n}") for n in range(3)] + [Waiting(chat, stack, "lost3", stream=True)]
    kept = [Waiting(chat, stack, "keyed", headers={"Idempotency-Key": "k"}), Waiting(chat, stack, "other", api=1)]
    assert respond(stack, "tag:background hello", background=True).status == 200
    stack.submit("tag:native hello")
    wait_until(lambda: in_flight(stack) == 8, 10, "eight calls")
    stack.apis[0].kill()
    wait_until(lambda: in_flight(stack) == 4, 20, "the calls of the clients of the killed process being freed")
    wait_until(lambda: [s for t, s in statuses(stack).items() if t.startswith("lost")] == ["canceled"] * 4, 20, "their jobs being canceled")
    script(stack, answer=TEXT)
    stack.apis[0].start()
    assert {t: s for t, s in statuses(stack).items() if s} == {f"lost{n}": "canceled" for n in range(4)}
    stack.workers[0].term()  # what hangs is called again
    stack.workers[0].start()
    assert kept[1].wait().status == 200
    wait_all_ended(stack)
    assert {t: s for t, s in statuses(stack).items() if not t.startswith("lost")} == dict.fromkeys(("keyed", "other", "background", "native"), "succeeded")
    assert chat(stack, "keyed", api=1, headers={"Idempotency-Key": "k"}).status == 200
    assert len([c for c in calls(stack) if c["tag"].startswith("lost")]) == 4
    assert all(isinstance(w.wait(), Exception) for w in (*lost, kept[0]))


def test_what_waits_for_a_killed_api_never_runs(make_stack):
    stack = make_stack(apis=2, config={"worker": {"slots": 1}})
    script(stack, hang=True)
    stack.submit("tag:first hello", api=1)
    wait_until(lambda: in_flight(stack) == 1, 10, "the call")
    Waiting(chat, stack, "lost")
    wait_until(lambda: "lost" in statuses(stack), 10, "the job that waits")
    stack.apis[0].kill()
    wait_until(lambda: statuses(stack)["lost"] == "canceled", 20, "its being canceled")
    assert statuses(stack)["first"] is None and len(calls(stack)) == 1
    error, = stack.sql("select error_code, error_message from outcome")
    assert error == ("canceled", "the process that its client waited at is gone")
    stack.apis[0].start()
    script(stack)


def test_a_frozen_api_that_can_be_seen_loses_nothing(make_stack):
    stack = make_stack(config={"queue": {"api_silence": "1s"}})
    script(stack, answer=TEXT, latency_ms=200)
    assert chat(stack, "before").status == 200
    script(stack, answer=TEXT, latency_ms=4000)
    waiting = Waiting(chat, stack, "frozen")
    wait_until(lambda: in_flight(stack) == 1, 10, "the call")
    stack.apis[0].stop()
    wait_all_ended(stack)
    stack.apis[0].cont()
    answer = waiting.wait()
    assert answer.status == 200 and answer.json["choices"][0]["message"]["content"] == TEXT
    assert [state for _, state, _ in apis(stack)] == [0]


def test_a_silent_api_of_another_host_is_gone_until_it_comes_back(make_stack):
    stack = make_stack(apis=2, config={"queue": {"api_silence": "1s"}})
    script(stack, hang=True)
    wait_until(lambda: len(apis(stack)) == 2, 10, "both processes being known")
    waiting, other = Waiting(chat, stack, "silent"), Waiting(chat, stack, "other", api=1)
    wait_until(lambda: in_flight(stack) == 2, 10, "the calls")
    stack.apis[0].stop()
    stack.sql("update api_process set boot = 'another host' where pid = %s", stack.apis[0].pid)
    wait_until(lambda: statuses(stack) == {"silent": "canceled", "other": None}, 15, "its job being canceled")
    wait_until(lambda: [swept for pid, state, swept in apis(stack) if state == 3] == [1024], 20, "all of its jobs being looked for")
    stack.apis[0].cont()
    assert waiting.wait().status == 409
    wait_until(lambda: [state for _, state, _ in apis(stack)] == [0, 0], 10, "its being back")
    script(stack, answer=TEXT)
    assert chat(stack, "again").status == 200
    stack.workers[0].term()
    stack.workers[0].start()
    assert other.wait().status == 200


def test_a_process_that_ends_in_peace_says_so(make_stack):
    stack = make_stack(apis=2)
    script(stack, answer=TEXT)
    assert chat(stack, "one").status == 200
    pid = stack.apis[0].pid
    stack.apis[0].term()
    wait_until(lambda: [(p, state) for p, state, swept in apis(stack) if swept == 1024] == [(pid, 2)], 20, "its being gone in peace")
    stack.apis[0].start()
    assert "apis_gone" not in stack.workers[0].log_tail(1 << 20)


def test_a_job_that_was_retried_is_its_retriers(make_stack):
    stack = make_stack(apis=2)
    script(stack, hang=True)
    waiting = Waiting(chat, stack, "left")
    wait_until(lambda: in_flight(stack) == 1, 10, "the call")
    job, = stack.sql("select 'job_' || replace(id::text, '-', '') from job")[0]
    assert stack.http(1).post(f"/v1/jobs/{job}/cancel").status == 200
    assert waiting.wait().status == 409
    assert stack.http(1).post(f"/v1/jobs/{job}/retry").status == 202
    wait_until(lambda: in_flight(stack) == 1, 10, "its call")
    stack.apis[0].kill()
    wait_until(lambda: [swept for _, state, swept in apis(stack) if state == 3] == [1024], 20, "the process being gone")
    assert stack.get(job, api=1)["status"] == "running"
    script(stack, answer=TEXT)
    stack.workers[0].term()
    stack.workers[0].start()
    assert stack.wait_for(job, api=1)
    stack.apis[0].start()


# --- what may not be kept ---


def bodies(stack):
    return stack.sql("select (select count(*) from payload), (select count(*) from result), (select count(*) from chunk), (select count(*) from unstored)")[0]


SOON = {"retention": {"unstored": "500ms"}}


def test_what_a_client_left_behind_is_erased(make_stack):
    stack = make_stack(config=SOON)
    script(stack, answer=TEXT * 10, between_ms=50, chunk_bytes=12)
    connection, response = stack.http().open("POST", "/v1/responses", {"model": "default", "input": "hello", "store": False, "stream": True})
    while b"output_text.delta" not in response.readline():
        pass
    assert bodies(stack)[3] == 1
    connection.close()
    wait_until(lambda: bodies(stack) == (0, 0, 0, 0), 20, "all of it being erased")
    job, = stack.sql("select 'job_' || replace(id::text, '-', '') from job")[0]
    assert stack.get(job)["status"] == "canceled" and stack.sql("select count(*) from attempt") == [(1,)]


def test_what_a_killed_api_left_behind_is_erased(make_stack):
    stack = make_stack(apis=2, config=SOON)
    script(stack, hang=True)
    waiting = Waiting(respond, stack, store=False)
    wait_until(lambda: in_flight(stack) == 1, 10, "the call")
    stack.apis[0].kill()
    wait_until(lambda: bodies(stack) == (0, 0, 0, 0), 20, "all of it being erased")
    assert stack.sql("select status from outcome") == [(5,)]
    assert isinstance(waiting.wait(), Exception)
    stack.apis[0].start()


def test_what_has_a_key_is_erased_when_that_lapses(make_stack):
    stack = make_stack(config=SOON)
    script(stack, answer=TEXT, usage={"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150})
    key = {"Idempotency-Key": "k"}
    first = respond(stack, store=False, headers=key)
    wait_until(lambda: stack.sql("select now() - finished_at > interval '2 seconds' from outcome")[0][0], 10, "two seconds")
    again = respond(stack, store=False, headers=key)
    assert again.status == 200 and again.json == first.json and bodies(stack)[:2] == (1, 1)
    lapses, = stack.sql("select u.look_at = i.expires_at from unstored u join idempotency i on i.object_id = u.job_id")
    assert lapses == (True,)
    stack.sql("update idempotency set expires_at = now()")
    stack.sql("update unstored set look_at = now()")
    wait_until(lambda: bodies(stack) == (0, 0, 0, 0), 20, "all of it being erased")
    job = stack.get(first.json["id"].replace("resp_", "job_"))
    assert job["status"] == "succeeded" and job["result"] is None and job["cost"]["usd"] == "0.000045"


def test_what_is_not_over_is_not_erased(make_stack):
    stack = make_stack(config=SOON)
    script(stack, answer=TEXT, latency_ms=3000)
    waiting = Waiting(respond, stack, store=False)
    wait_until(lambda: stack.sql("select count(*) from unstored where look_at > now() + interval '100 ms'")[0][0] == 1, 10, "its being looked at")
    answer = waiting.wait()
    assert answer.status == 200 and TEXT in answer.text
    assert bodies(stack) == (0, 0, 0, 0)
    stored = respond(stack).json
    assert stack.http().delete(f"/v1/responses/{stored['id']}").status == 200 and bodies(stack) == (0, 0, 0, 0)


@pytest.mark.parametrize("fields", [{"store": True}, {}])
def test_what_may_be_kept_is_kept(make_stack, fields):
    stack = make_stack(config=SOON)
    script(stack, answer=TEXT)
    r = respond(stack, **fields).json
    theirs = stack.http(key=create_key(stack.db, "spy", tenant="spies"))
    wait_until(lambda: stack.sql("select now() - finished_at > interval '2 seconds' from outcome")[0][0], 10, "two seconds")
    assert stack.http().get(f"/v1/responses/{r['id']}").json == r and theirs.get(f"/v1/responses/{r['id']}").status == 404
    assert bodies(stack)[3] == 0
