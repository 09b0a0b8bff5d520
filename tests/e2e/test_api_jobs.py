# SPDX-License-Identifier: Apache-2.0
"""/v1/jobs as a client sees it: the door, the job object, lists, waiting, cancel, retry, delete."""

import threading
import time

import pytest

from stack import create_key, wait_until

OTHER_ID = "job_" + "0123456789abcdef" * 2
MESSAGE = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def door(make_stack):
    """An api without workers: what is submitted stays queued."""
    return make_stack(workers=0, simulator=True)


def problem(answer, status, code, param=None):
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json
    assert body["status"] == status and body["code"] == code, body
    assert body["title"] and body["type"] and body["request_id"] == answer.headers["x-request-id"]
    assert body.get("param") == param, body
    assert body["retryable"] is (status in (429, 503))
    return body


def test_a_new_job_is_answered_with_its_object(door):
    answer = door.http().post("/v1/jobs", door.body("hello", metadata={"a": "b"}, user="alice", priority=2))
    job = answer.json
    assert answer.status == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["Retry-After"]) >= 1
    assert job["status"] == "queued" and job["metadata"] == {"a": "b"} and job["user"] == "alice" and job["priority"] == 2
    read = door.get(job["id"])
    for key in job.keys() - {"queue"}:
        assert read[key] == job[key], key
    assert read["queue"]["ahead"] == 0


def test_a_job_tells_what_it_will_likely_cost_before_it_runs(stack):
    limit = stack.submit({"messages": [{"role": "user", "content": "x" * 4000}], "max_tokens": 1000})
    assert float(limit["cost"]["estimated_usd"]) == pytest.approx((1100 * 0.15 + 1000 * 0.60) / 1e6, rel=0.02)
    assert limit["cost"]["usd"] == "0.000000"
    ended = stack.wait_for(limit["id"])
    assert ended["cost"]["estimated_usd"] == limit["cost"]["estimated_usd"] and 0 < float(ended["cost"]["usd"])
    batch = stack.http().post("/v1/batches", {"jobs": [{"route": "default", "request": MESSAGE | {"max_tokens": 1000}}]}).json
    in_batch = stack.http().get(f"/v1/jobs?batch_id={batch['id']}").json["data"]
    assert [float(job["cost"]["estimated_usd"]) for job in in_batch] == [pytest.approx(0.000601, rel=0.01)]
    listed = [job for job in stack.http().get("/v1/jobs").json["data"] if job["batch_id"] is None]
    assert [job["cost"]["estimated_usd"] for job in listed] == [limit["cost"]["estimated_usd"]]


def test_a_job_for_later_is_scheduled(door):
    run_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    job = door.submit(run_at=run_at)
    assert job["status"] == "scheduled" and job["run_at"] == run_at.replace("Z", ".000Z")
    read = door.get(job["id"])
    assert read["status"] == "scheduled" and read["queue"]["waiting_for"] == "run_at"


def test_mistakes_are_problems_that_name_the_field(door):
    http = door.http()
    json_type = {"Content-Type": "application/json"}
    problem(http.post("/v1/jobs", b"{", headers=json_type), 400, "invalid_json")
    problem(http.post("/v1/jobs", {}), 400, "missing_field", "/request")
    problem(http.post("/v1/jobs", {"route": "default", "request": MESSAGE, "x": 1}), 400, "unknown_field", "/x")
    problem(http.post("/v1/jobs", {"route": "no such", "request": MESSAGE}), 400, "unknown_route", "/route")
    problem(http.post("/v1/jobs", door.body(cache={"mode": "semantic"})), 422, "unsupported", "/cache/mode")
    problem(http.post("/v1/jobs", door.body(webhook={"url": "http://10.0.0.1/"})), 400, "address_refused", "/webhook/url")
    problem(http.post("/v1/jobs", b"a=b", headers={"Content-Type": "text/plain"}), 415, "unsupported_media_type")
    problem(http.get("/v1/nothing"), 404, "not_found")
    problem(http.get("/v1/jobs/job_123"), 404, "not_found")
    refused = http.request("PATCH", "/v1/jobs")
    problem(refused, 405, "method_not_allowed")
    assert set(refused.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_a_body_over_the_limit_is_413(make_stack):
    stack = make_stack(workers=0, config={"limits": {"body_bytes": "2KiB"}})
    problem(stack.http().post("/v1/jobs", stack.body("x" * 3000)), 413, "too_large")


def test_no_key_no_service(door):
    http = door.http()
    for headers in ({"Authorization": "Bearer mr_0123456789_wrong"}, {"Authorization": "Bearer sk-other"},
                    {"x-api-key": "nonsense"}, {}):
        answer = http.request("GET", "/v1/jobs", headers=headers, key="")
        if not headers:
            continue
        problem(answer, 401, "unauthenticated")
    bare = door.http()
    bare.key = None
    answer = bare.get("/v1/jobs")
    problem(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert bare.get("/v1/jobs", headers={"x-api-key": door.keys["api_key"]}).status == 200
    assert bare.get("/v1/jobs", headers={"api-key": door.keys["api_key"]}).status == 200
    assert bare.get("/healthz").status == 200 and bare.get("/readyz").status == 200


def test_a_revoked_key_stops_working(door):
    key = create_key(door.db, "short-lived")
    assert door.http(key=key).get("/v1/jobs").status == 200
    door.sql("update api_key set revoked_at = now() where name = 'short-lived'")
    wait_until(lambda: door.http(key=key).get("/v1/jobs").status == 401, 15, "the refusal of a revoked key")


def test_metrics_are_for_the_operator(door):
    problem(door.http().get("/metrics"), 403, "forbidden")
    door.submit()
    text = door.admin().get("/metrics").text
    assert "millrace_jobs_accepted_total 1" in text and 'route="/v1/jobs"' in text


def test_a_tenants_objects_do_not_exist_for_another(door):
    job = door.submit()
    lines = '{"route":"default","request":{"messages":[{"role":"user","content":"x"}]}}\n'
    batch = door.http().post("/v1/batches", lines.encode(), headers={"Content-Type": "application/x-ndjson"}).json
    other = door.http(key=create_key(door.db, "spy", tenant="spies"))
    for method, path in (("GET", "/v1/jobs/{j}"), ("GET", "/v1/jobs/{j}/attempts"), ("POST", "/v1/jobs/{j}/cancel"),
                         ("POST", "/v1/jobs/{j}/retry"), ("DELETE", "/v1/jobs/{j}"), ("GET", "/v1/batches/{b}"),
                         ("GET", "/v1/batches/{b}/results"), ("POST", "/v1/batches/{b}/cancel"),
                         ("POST", "/v1/batches/{b}/retry")):
        answer = other.request(method, path.format(j=job["id"], b=batch["id"]))
        assert answer.status == 404, (method, path, answer)
    assert other.get("/v1/jobs").json["data"] == [] and other.get("/v1/batches").json["data"] == []
    assert other.get(f"/v1/jobs?batch_id={batch['id']}").json["data"] == []
    assert door.get(job["id"])["status"] == "queued"


def test_lists_filter_and_page(door):
    ids = [door.submit(f"n{i}", metadata={"n": str(i % 2)}, user="a" if i < 3 else "b", route="default" if i < 4 else "m1")["id"]
           for i in range(5)]
    http = door.http()

    def listed(query):
        return [j["id"] for j in http.get(f"/v1/jobs?{query}").json["data"]]

    assert listed("") == ids[::-1] and listed("order=asc") == ids
    first = http.get("/v1/jobs?limit=2").json
    assert first["has_more"] and first["first_id"] == ids[4] and first["last_id"] == ids[3]
    assert listed(f"limit=2&after={ids[3]}") == [ids[2], ids[1]]
    last = http.get(f"/v1/jobs?limit=2&after={ids[1]}").json
    assert [j["id"] for j in last["data"]] == [ids[0]] and not last["has_more"]
    assert listed("metadata[n]=1") == [ids[3], ids[1]]
    assert listed("metadata%5Bn%5D=1&user=a") == [ids[1]]
    assert listed("route=m1") == [ids[4]]
    assert listed("status=queued&limit=100") == ids[::-1] and listed("status=failed") == []
    assert listed("created_after=2020-01-01T00:00:00Z&created_before=2020-01-02T00:00:00Z") == []
    assert listed("created_after=2020-01-01T00:00:00Z") == ids[::-1]
    http.post(f"/v1/jobs/{ids[2]}/cancel")
    assert listed("status=canceled") == [ids[2]]
    for bad in ("limit=0", "limit=101", "limit=x", "order=up", "after=job_1", "status=lost", "nothing=1", "created_after=now"):
        assert http.get(f"/v1/jobs?{bad}").status == 400, bad


def test_polling_with_an_etag_costs_nothing(door):
    job = door.submit()
    http = door.http()
    first = http.get(f"/v1/jobs/{job['id']}")
    again = http.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status == 304 and again.body == b"" and again.headers["ETag"] == first.headers["ETag"]
    http.post(f"/v1/jobs/{job['id']}/cancel")
    changed = http.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status == 200 and changed.json["status"] == "canceled"


def test_head_is_get_without_a_body(door):
    job = door.submit()
    get, head = door.http().get(f"/v1/jobs/{job['id']}"), door.http().request("HEAD", f"/v1/jobs/{job['id']}")
    assert head.status == 200 and head.body == b"" and head.headers["ETag"] == get.headers["ETag"]


def test_waiting_holds_the_answer_until_the_job_ends(stack):
    answer = stack.http().post("/v1/jobs", stack.body(), headers={"Prefer": "wait=20"})
    assert answer.status == 200 and answer.json["status"] == "succeeded", answer
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert answer.json["result"]["choices"][0]["message"]["content"]
    assert stack.http().post("/v1/jobs?wait=20", stack.body()).status == 200


def test_waiting_ends_with_the_time(door):
    start = time.monotonic()
    answer = door.http().post("/v1/jobs?wait=1", door.body())
    assert answer.status == 202 and answer.json["status"] == "queued" and time.monotonic() - start >= 1
    assert door.http().get(f"/v1/jobs/{answer.json['id']}?wait=1").status == 200
    assert door.http().get(f"/v1/jobs/{answer.json['id']}?wait=x").status == 400


def test_waiting_sees_a_cancel(door):
    job = door.submit()
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(door.http().get(f"/v1/jobs/{job['id']}?wait=20")))
    waiter.start()
    assert door.http().post(f"/v1/jobs/{job['id']}/cancel").json["status"] == "canceled"
    waiter.join(10)
    assert answers and answers[0].json["status"] == "canceled"


def test_cancel_retry_delete(door):
    http = door.http()
    job = door.submit()
    path = f"/v1/jobs/{job['id']}"
    problem(http.post(path + "/retry"), 409, "conflict")
    problem(http.delete(path), 409, "conflict")
    for _ in range(2):  # again changes nothing
        canceled = http.post(path + "/cancel")
        assert canceled.status == 200 and canceled.json["status"] == "canceled" and canceled.json["error"]["code"] == "canceled"
    retried = http.post(path + "/retry")
    assert retried.status == 202 and retried.json["status"] == "queued" and retried.json["finished_at"] is None
    problem(http.post(path + "/retry"), 409, "conflict")
    assert http.post(path + "/cancel").json["status"] == "canceled"
    assert http.delete(path).json == {"id": job["id"], "object": "job", "deleted": True}
    assert door.sql("select count(*) from payload") == [(0,)]
    assert door.get(job["id"])["status"] == "canceled"
    problem(http.post(path + "/retry"), 409, "conflict")
    # What was refused left no trace: one more retry than series would say that a series never ended.
    assert door.sql("select (select count(*) from outcome), (select count(*) from retry)") == [(2, 1)]
    problem(http.post(f"/v1/jobs/{OTHER_ID}/cancel"), 404, "not_found")


def test_a_running_job_is_canceled(stack):
    stack.simulator.http().post("/_control", {"models": {"sim-extract": {"answer": "ok", "latency_ms": 20000}}})
    job = stack.submit()
    stack.wait_for(job["id"], "running")
    answer = stack.http().post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status in (200, 202), answer
    assert stack.wait_for(job["id"], "canceled")["error"]["code"] == "canceled"


def test_delete_erases_the_answer_and_keeps_the_accounting(stack):
    job = stack.http().post("/v1/jobs?wait=20", stack.body()).json
    etag = stack.http().get(f"/v1/jobs/{job['id']}").headers["ETag"]
    assert stack.http().delete(f"/v1/jobs/{job['id']}").status == 200
    left = stack.http().get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": etag}).json
    assert left["status"] == "succeeded" and left["result"] is None and left["usage"] == job["usage"]
    assert stack.sql("select count(*) from payload") == [(0,)] and stack.sql("select count(*) from result") == [(0,)]
    attempts = stack.http().get(f"/v1/jobs/{job['id']}/attempts").json["data"]
    assert len(attempts) == 1 and attempts[0]["code"] == "ok" and attempts[0]["target"] == "sim"


def test_cors_is_off_until_it_is_allowed(make_stack):
    stack = make_stack(workers=0, simulator=False, config={"server": {"cors_origins": "https://app.example"}})
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    preflight = stack.http().request("OPTIONS", "/v1/jobs", headers=asked)
    assert preflight.status == 204 and preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    plain = stack.http().get("/v1/jobs", headers={"Origin": "https://app.example"})
    assert plain.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Access-Control-Allow-Origin" not in stack.http().get("/v1/jobs", headers={"Origin": "https://evil.example"}).headers


def test_a_submission_that_prefers_not_to_wait_is_told_so(stack):
    def ask(**headers):
        answer = stack.http().post("/v1/jobs", stack.body(), headers=headers)
        return answer.status, answer.headers["Preference-Applied"], answer.headers["Vary"]

    assert ask(Prefer="respond-async") == (202, "respond-async", "Prefer")
    assert ask(Prefer='handling=lenient, wait="20"; x=1, respond-async') == (200, "respond-async, wait=20", "Prefer")
    assert ask(Prefer="wait, wait=x, respond-asynchronously") == (202, None, "Prefer")
    job = stack.submit()
    answer = stack.http().get(f"/v1/jobs/{job['id']}", headers={"Prefer": "respond-async, wait=20"})
    assert answer.json["status"] == "succeeded" and answer.headers["Preference-Applied"] == "wait=20"
