# SPDX-License-Identifier: Apache-2.0
"""Many jobs in one body: NDJSON and {"jobs": […]}, results, cancel, retry."""

import json
import socket

import pytest

from stack import wait_until

NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def door(make_stack):
    return make_stack(workers=0, simulator=True)


def line(text="x", **fields):
    return json.dumps({"route": "default", "request": {"messages": [{"role": "user", "content": text}]}, **fields})


def test_bad_lines_are_reported_and_do_not_stop_the_good_ones(door):
    lines = [line(str(i)) for i in range(20001)]
    lines[0] = "nonsense"
    lines[19999] = line(priority=11)
    answer = door.http().post("/v1/jobs", "\n".join(lines).encode(), headers=NDJSON, timeout=60)
    batch = answer.json
    assert answer.status == 202 and answer.headers["Location"] == f"/v1/batches/{batch['id']}"
    assert batch["total"] == 19999 and batch["error_count"] == 2 and batch["status"] == "running"
    assert [(e["line"], e["code"], e["param"]) for e in batch["errors"]] == [
        (1, "invalid_json", None), (20000, "out_of_range", "/priority")]
    assert batch["counts"]["queued"] == 19999
    assert door.sql("select count(*) from ready") == [(19999,)] and door.sql("select count(*) from payload") == [(19999,)]
    assert door.sql("select body from payload join job on id = job_id where batch_index = 0") == [(lines[1],)]


def test_without_a_good_line_nothing_is_written(door):
    answer = door.http().post("/v1/batches", b"{}\nx\n", headers=NDJSON)
    assert answer.status == 400 and answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["error_count"] == 2 and len(answer.json["errors"]) == 2
    assert door.http().post("/v1/batches", b"", headers=NDJSON).status == 400
    assert door.http().post("/v1/batches", {"jobs": []}).status == 400
    assert door.sql("select count(*) from batch") == [(0,)]


def test_the_first_hundred_errors_are_kept(door):
    body = "\n".join(["bad"] * 150 + [line()]).encode()
    batch = door.http().post("/v1/batches", body, headers=NDJSON).json
    assert batch["error_count"] == 150 and len(batch["errors"]) == 100 and batch["total"] == 1


def test_native_body(door):
    jobs = [json.loads(line("a")), {"route": "default"}, json.loads(line("b"))]
    batch = door.http().post("/v1/batches", {"jobs": jobs}).json
    assert batch["total"] == 2 and batch["errors"][0]["line"] == 2 and batch["errors"][0]["param"] == "/jobs/1/request"
    for body, status in (({"jobs": jobs, "x": 1}, 400), ({"jobs": 1}, 400), ({}, 400), ({"input_file_id": "file_1"}, 404)):
        assert door.http().post("/v1/batches", body).status == status, body


def test_one_key_makes_one_batch(make_stack):
    stack = make_stack(apis=2, workers=0, simulator=True)
    body = "\n".join(line(str(i)) for i in range(700)).encode()
    answers = [stack.http(api=i % 2).post("/v1/batches", body, headers={**NDJSON, "Idempotency-Key": "b"}) for i in range(4)]
    assert {a.status for a in answers} == {202} and len({a.json["id"] for a in answers}) == 1
    assert [a.headers["Idempotent-Replayed"] for a in answers] == [None, "true", "true", "true"]
    assert stack.sql("select count(*) from job") == [(700,)]
    other = stack.http().post("/v1/batches", body + b"\n" + line("more").encode(), headers={**NDJSON, "Idempotency-Key": "b"})
    assert other.status == 422 and other.json["code"] == "idempotency_key_reused"


def test_a_lost_commit_is_sent_again(make_stack):
    stack = make_stack(workers=0, simulator=True, env={"MILLRACE_FAULTS": "db.result.batch_accept_jobs=error@2"})
    body = "\n".join(line(str(i)) for i in range(1600)).encode()
    batch = stack.http().post("/v1/batches", body, headers=NDJSON)
    assert batch.status == 202 and batch.json["total"] == 1600
    assert stack.sql("select count(*) from ready") == [(1600,)] and stack.sql("select count(*) from batch") == [(1,)]


def test_a_client_that_vanishes_in_the_middle_leaves_nothing(door):
    http = door.http()
    s = socket.create_connection((http.host, http.port))
    half = "\n".join(line(str(i)) for i in range(1000)).encode()
    s.sendall((f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {http.key}\r\nContent-Type: application/x-ndjson\r\n"
               f"Content-Length: {len(half) * 2}\r\n\r\n").encode() + half)
    wait_until(lambda: "millrace_http_connections 2" in door.admin().get("/metrics").text, 10, "the upload")
    s.close()
    wait_until(lambda: "millrace_http_connections 1" in door.admin().get("/metrics").text, 10, "the end of the upload")
    assert door.sql("select count(*) from batch") == [(0,)] and door.sql("select count(*) from job") == [(0,)]


def test_the_limits_of_a_batch(make_stack):
    stack = make_stack(workers=0, simulator=True, config={"limits": {"batch_jobs": 10, "batch_bytes": "4KiB", "body_bytes": "1KiB"}})
    http = stack.http()
    assert http.post("/v1/jobs", "\n".join([line()] * 11).encode(), headers=NDJSON).status == 413
    assert http.post("/v1/jobs", ("\n" * 5000).encode(), headers=NDJSON).status == 413
    batch = http.post("/v1/jobs", (line("y" * 2000) + "\n" + line()).encode(), headers=NDJSON).json
    assert batch["total"] == 1 and batch["errors"][0]["code"] == "too_large"
    assert stack.sql("select count(*) from job") == [(1,)]


def test_batches_that_fill_the_memory_are_refused_and_leave_room_again(make_stack):
    stack = make_stack(workers=0, simulator=True, config={"limits": {"batch_memory": "1MiB"}})
    large = "\n".join(line("z" * 2000) for _ in range(1000)).encode()
    for _ in range(2):
        answer = stack.http().post("/v1/jobs", large, headers=NDJSON)
        assert answer.status == 503 and answer.json["code"] == "overloaded" and answer.headers["Retry-After"]
    assert stack.http().post("/v1/jobs", large[:400000].rsplit(b"\n", 1)[0], headers=NDJSON).status == 202
    assert stack.http().post("/v1/jobs", large[:400000].rsplit(b"\n", 1)[0], headers=NDJSON).status == 202
    assert stack.sql("select count(*) from batch") == [(2,)]


def test_a_batch_runs_and_gives_its_results_in_order(stack):
    n = 450
    body = "\n".join(line(f"question {i}", metadata={"n": str(i)}) for i in range(n)).encode()
    batch = stack.http().post("/v1/batches", body, headers=NDJSON).json
    path = f"/v1/batches/{batch['id']}"
    done = stack.http().get(path + "?wait=60", timeout=90)
    assert done.json["status"] == "completed" and done.json["counts"]["succeeded"] == n, done
    assert done.json["progress"]["percent"] == 100.0 and done.json["finished_at"]
    results = stack.http().get(path + "/results")
    assert results.headers["Content-Type"].startswith("application/x-ndjson")
    rows = [json.loads(row) for row in results.text.splitlines()]
    assert [r["index"] for r in rows] == list(range(n)) and [r["metadata"]["n"] for r in rows] == [str(i) for i in range(n)]
    assert all(r["status"] == "succeeded" and r["result"]["choices"] for r in rows)
    again = stack.http().get(path, headers={"If-None-Match": done.headers["ETag"]})
    assert again.status == 304
    head = stack.http().request("HEAD", path + "/results")
    assert head.status == 200 and head.body == b""
    assert stack.http().post(path + "/retry").status == 409
    assert stack.http().post(path + "/cancel").json["status"] == "completed"
    listed = stack.http().get("/v1/batches").json
    assert [b["id"] for b in listed["data"]] == [batch["id"]] and listed["has_more"] is False


def test_results_of_a_running_batch_leave_out_what_has_not_ended(door):
    batch = door.http().post("/v1/batches", "\n".join(line(str(i)) for i in range(3)).encode(), headers=NDJSON).json
    path = f"/v1/batches/{batch['id']}/results"
    second = door.sql("select id from job where batch_index = 1")[0][0].replace("-", "")
    door.http().post(f"/v1/jobs/job_{second}/cancel")
    assert [json.loads(r)["index"] for r in door.http().get(path).text.splitlines()] == [1]
    assert [json.loads(r)["status"] for r in door.http().get(path + "?all=true").text.splitlines()] == ["queued", "canceled", "queued"]
    assert door.http().get(path + "?all=maybe").status == 400


def test_cancel_and_retry_a_batch(make_stack):
    stack = make_stack(start=False)
    for process in [stack.simulator] + stack.apis:
        process.start()
    http = stack.http()
    n = 1200
    batch = http.post("/v1/batches", "\n".join(line(str(i)) for i in range(n)).encode(), headers=NDJSON).json
    path = f"/v1/batches/{batch['id']}"
    canceled = http.post(path + "/cancel").json
    assert canceled["counts"]["canceled"] == n and canceled["status"] in ("canceling", "canceled")
    assert stack.sql("select count(*) from ready") == [(0,)]
    stack.workers[0].start()
    wait_until(lambda: http.get(path).json["status"] == "canceled", 20, "the end of the canceled batch")
    retried = http.post(path + "/retry")
    assert retried.status == 202 and retried.json["status"] == "running"
    done = wait_until(lambda: (b := http.get(path).json)["status"] == "completed" and b, 60, "the end of the retried batch")
    assert done["counts"]["succeeded"] == n and done["counts"]["canceled"] == 0
