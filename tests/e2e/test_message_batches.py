# SPDX-License-Identifier: Apache-2.0
"""/v1/messages/batches as Anthropic's SDK uses it: created in one body, read while it runs, canceled, listed, deleted."""

import http.client
import json
from urllib.parse import urlsplit

import pytest

from faults import script
from stack import create_key, wait_until

HEADERS = {"anthropic-version": "2023-06-01"}


def params(text="hello", **fields):
    return {"model": "default", "max_tokens": 50, "messages": [{"role": "user", "content": text}], **fields}


def requests(n, **fields):
    return [{"custom_id": f"r-{i}", "params": params(f"text {i}", **fields)} for i in range(n)]


def create(stack, items, headers=None, **fields):
    return stack.http().post("/v1/messages/batches", {"requests": items, **fields}, headers={**HEADERS, **(headers or {})})


def get(stack, batch_id, rest=""):
    return stack.http().get(f"/v1/messages/batches/{batch_id}{rest}", headers=HEADERS)


def ended(stack, batch_id, limit=30):
    def look():
        batch = get(stack, batch_id).json
        counts = batch["request_counts"]
        assert sum(counts.values()) > 0
        return batch if batch["processing_status"] == "ended" else None
    return wait_until(look, limit, f"{batch_id} having ended")


def results(stack, batch_id):
    answer = get(stack, batch_id, "/results")
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/x-jsonl", answer
    lines = [json.loads(line) for line in answer.text.splitlines()]
    return {line["custom_id"]: line["result"] for line in lines}


@pytest.fixture
def door(make_stack):
    """An api without workers: what is submitted stays queued."""
    return make_stack(workers=0)


def test_a_batch_is_made_runs_and_is_read(stack):
    script(stack, model="sim-extract", echo=True)
    answer = create(stack, requests(30))
    assert answer.status == 200, answer
    batch = answer.json
    assert batch["id"].startswith("msgbatch_") and batch["type"] == "message_batch" and batch["processing_status"] == "in_progress"
    assert sum(batch["request_counts"].values()) == 30 and batch["results_url"] is None and batch["ended_at"] is None
    batch = ended(stack, batch["id"])
    assert batch["request_counts"] == {"processing": 0, "succeeded": 30, "errored": 0, "canceled": 0, "expired": 0}
    assert batch["results_url"] == f"{stack.url}/v1/messages/batches/{batch['id']}/results" and batch["ended_at"] and batch["archived_at"] is None
    found = results(stack, batch["id"])
    assert set(found) == {f"r-{i}" for i in range(30)}
    for i in range(30):
        assert found[f"r-{i}"]["type"] == "succeeded"
        message = found[f"r-{i}"]["message"]
        assert message["type"] == "message" and message["id"].startswith("msg_") and message["content"][0]["text"] == f"text {i}"
    assert stack.sql("select count(*), count(distinct custom_id), min(form), max(form) from job")[0] == (30, 30, 5, 5)


def test_lines_say_how_they_ended(stack):
    script(stack, model="sim-extract", error_class="context_window")
    batch = create(stack, requests(2)).json
    batch = ended(stack, batch["id"])
    assert batch["request_counts"]["errored"] == 2
    for result in results(stack, batch["id"]).values():
        assert result["type"] == "errored" and result["error"]["type"] == "error" and result["error"]["error"]["type"] == "invalid_request_error"


def test_what_failed_is_retried_by_the_batchs_other_name(stack):
    script(stack, model="sim-extract", error_class="context_window")
    batch = ended(stack, create(stack, requests(3)).json["id"])
    assert batch["request_counts"]["errored"] == 3
    script(stack, model="sim-extract", answer="ok")
    answer = stack.http().post(f"/v1/batches/{batch['id'].replace('msgbatch_', 'batch_')}/retry")
    assert answer.status == 202, answer
    assert ended(stack, batch["id"])["request_counts"]["succeeded"] == 3
    assert {result["message"]["content"][0]["text"] for result in results(stack, batch["id"]).values()} == {"ok"}


def test_all_faults_are_named_and_nothing_is_made(door):
    bad = [
        {"custom_id": "a", "params": params()},
        {"custom_id": "a", "params": params()},
        {"custom_id": "no spaces", "params": params()},
        {"params": params()},
        {"custom_id": "b"},
        {"custom_id": "c", "params": params(stream=True)},
        {"custom_id": "d", "params": {"model": "default", "messages": []}},
        {"custom_id": "e", "params": params(model="no such thing")},
        {"custom_id": "f", "params": params(millrace={"priority": 77})},
        {"custom_id": "g", "params": params(messages=[{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "file-1"}}]}])},
        "text",
    ]
    answer = create(door, bad)
    assert answer.status == 400 and answer.json["error"]["type"] == "invalid_request_error", answer
    said = answer.json["error"]["message"]
    for where in ("requests[1].custom_id: requests[0] has the same one", "requests[2].custom_id: ", "requests[3].custom_id: ", "requests[4].params: ",
                  "requests[5].params.stream: ", "requests[6].params.max_tokens: ", "requests[7].params.model: ", "requests[8].params.millrace.priority: ",
                  "requests[9].params.messages: ", "requests[10]: "):
        assert where in said, (where, said)
    assert "requests[0]." not in said
    assert door.sql("select count(*) from job")[0][0] == 0


def test_bodies_that_are_no_batch(door):
    http_ = door.http()
    for body, status, where in ((b"{", 400, "it ends too early"), (b"[]", 400, "wanted an object"), (b'{"requests":{}}', 400, "requests: wanted one array"),
                                (b'{"requests":[]}', 400, "requests: wanted at least one"), (b"{}", 400, "requests: wanted at least one"),
                                (b'{"requests":[,]}', 400, "requests[0]: this is not JSON")):
        answer = http_.post("/v1/messages/batches", body, headers={**HEADERS, "Content-Type": "application/json"})
        assert answer.status == status and answer.json["error"]["message"].startswith(where), (body, answer)
    answer = http_.post("/v1/messages/batches", b"x", headers={**HEADERS, "Content-Type": "text/plain"})
    assert answer.status == 415 and answer.json["type"] == "error"


def test_too_many_requests_are_413(make_stack):
    stack = make_stack(workers=0, config={"limits": {"batch_jobs": 3}})
    answer = create(stack, requests(4))
    assert (answer.status, answer.json["error"]["type"]) == (413, "request_too_large"), answer
    assert create(stack, requests(3)).status == 200


def test_a_body_may_come_in_any_pieces(door):
    body = json.dumps({"requests": requests(3)}).encode()
    url = urlsplit(door.url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
    headers = {**HEADERS, "Content-Type": "application/json", "Authorization": f"Bearer {door.keys['api_key']}", "Transfer-Encoding": "chunked"}
    connection.request("POST", "/v1/messages/batches", body=(body[i:i + 7] for i in range(0, len(body), 7)), headers=headers, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 200 and sum(json.loads(answer.read())["request_counts"].values()) == 3
    connection.close()


def test_a_repeat_with_its_key_makes_no_second_batch(door):
    key = {"Idempotency-Key": "b-1"}
    first, again = create(door, requests(2), headers=key), create(door, requests(2), headers=key)
    assert first.status == again.status == 200 and first.json["id"] == again.json["id"] and again.headers["Idempotent-Replayed"] == "true"
    other = create(door, requests(3), headers=key)
    assert other.status == 422, other
    assert door.sql("select count(*) from job")[0][0] == 2


def test_a_batch_is_canceled(door):
    batch = create(door, requests(4)).json
    answer = door.http().post(f"/v1/messages/batches/{batch['id']}/cancel", headers=HEADERS)
    assert answer.status == 200 and answer.json["cancel_initiated_at"], answer
    assert answer.json["processing_status"] in ("canceling", "ended") and answer.json["request_counts"]["canceled"] == 4
    assert {r["type"] for r in results(door, batch["id"]).values()} == {"canceled"}


def test_results_are_there_while_it_runs(make_stack):
    stack = make_stack(config={"worker": {"slots": 1}})
    script(stack, model="sim-extract", latency_ms=300)
    batch = create(stack, requests(10)).json
    wait_until(lambda: get(stack, batch["id"]).json["request_counts"]["succeeded"] > 0, 20, "a first success")
    some = results(stack, batch["id"])
    assert some and all(r["type"] == "succeeded" for r in some.values())
    ended(stack, batch["id"])
    assert len(results(stack, batch["id"])) == 10


def test_lists_go_both_ways(door):
    ids = [create(door, requests(1)).json["id"] for _ in range(5)][::-1]  # newest first
    door.http().post("/v1/batches", {"jobs": [door.body()]})

    def page(query):
        answer = door.http().get(f"/v1/messages/batches?{query}", headers=HEADERS)
        assert answer.status == 200, answer
        body = answer.json
        found = [b["id"] for b in body["data"]]
        assert (body["first_id"], body["last_id"]) == ((found[0], found[-1]) if found else (None, None))
        return found, body["has_more"]

    assert page("") == (ids, False)
    assert page("limit=2") == (ids[:2], True)
    assert page(f"limit=2&after_id={ids[1]}") == (ids[2:4], True)
    assert page(f"after_id={ids[3]}") == (ids[4:], False)
    assert page(f"limit=2&before_id={ids[4]}") == (ids[2:4], True)
    assert page(f"before_id={ids[1]}") == (ids[:1], False)
    assert page(f"before_id={ids[0]}") == ([], False)
    for query in ("limit=0", "limit=1001", "after_id=x", f"after_id={ids[0]}&before_id={ids[0]}"):
        answer = door.http().get(f"/v1/messages/batches?{query}", headers=HEADERS)
        assert answer.status == 400 and answer.json["error"]["type"] == "invalid_request_error", query


def test_a_batch_is_deleted_when_it_has_ended(stack):
    batch = create(stack, requests(3)).json
    early = stack.http().delete(f"/v1/messages/batches/{batch['id']}", headers=HEADERS)
    if early.status != 200:
        assert early.status == 409 and early.json["error"]["type"] == "invalid_request_error", early
        ended(stack, batch["id"])
        assert stack.http().delete(f"/v1/messages/batches/{batch['id']}", headers=HEADERS).json == {"id": batch["id"], "type": "message_batch_deleted"}
    assert get(stack, batch["id"]).status == 404
    assert stack.sql("select (select count(*) from payload), (select count(*) from result), (select count(*) from job)")[0] == (0, 0, 3)


def test_batches_of_others_are_not_there(door):
    batch = create(door, requests(1)).json
    native = door.http().post("/v1/batches", {"jobs": [door.body()]}).json["id"].replace("batch_", "msgbatch_")
    other = door.http(key=create_key(door.db, "other", tenant="other"))
    for path in (f"/v1/messages/batches/{native}", f"/v1/messages/batches/{native}/results"):
        assert door.http().get(path, headers=HEADERS).status == 404
    assert door.http().delete(f"/v1/messages/batches/{native}", headers=HEADERS).status == 404
    assert door.http().post(f"/v1/messages/batches/{native}/cancel", headers=HEADERS).status == 404
    for path in (f"/v1/messages/batches/{batch['id']}", f"/v1/messages/batches/{batch['id']}/results"):
        assert other.get(path, headers=HEADERS).status == 404
    assert door.http().get("/v1/messages/batches/nonsense", headers=HEADERS).json["error"]["type"] == "not_found_error"
