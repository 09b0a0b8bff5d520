# SPDX-License-Identifier: Apache-2.0
"""Webhooks as a receiver sees them: signed, repeated until taken, never into private networks."""

import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stack import wait_until

NDJSON = {"Content-Type": "application/x-ndjson"}


class Receiver:
    """Keeps what comes; `answers` are the statuses of the next answers, then 204."""

    def __init__(self):
        self.got, self.answers, self.headers, self.hold = [], [], {}, threading.Event()
        self.hold.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict((k.lower(), v) for k, v in self.headers.items()), body))
                status = receiver.answers.pop(0) if receiver.answers else 204
                receiver.hold.wait(30)
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, n, limit=15):
        return wait_until(lambda: len(self.got) >= n and self.got, limit, f"{n} deliveries")


@pytest.fixture
def receiver():
    r = Receiver()
    yield r
    r.hold.set()
    r.server.shutdown()
    r.server.server_close()


def verify(secret, headers, body):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    want = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    assert hmac.compare_digest(want, headers["webhook-signature"])


def secret_of(stack):
    return stack.sql("select webhook_secret from tenant where name = 'default'")[0][0]


def deliveries(stack):
    return stack.sql("select state, tries, next_at is null from webhook_delivery order by id")


def test_an_ended_job_is_told_once_signed(stack, receiver):
    job = stack.submit(webhook={"url": receiver.url}, metadata={"order": "7"}, user="alice")
    headers, body = receiver.wait(1)[0]
    verify(secret_of(stack), headers, body)
    assert headers["content-type"] == "application/json" and headers["webhook-id"].startswith("del_")
    message = json.loads(body)
    assert message["type"] == "job.succeeded"
    data = message["data"]
    assert data["id"] == job["id"] and data["status"] == "succeeded" and data["metadata"] == {"order": "7"} and data["user"] == "alice"
    assert data["attempts"] == 1 and data["error"] is None and data["usage"]["output_tokens"] > 0 and float(data["cost"]["usd"]) > 0
    wait_until(lambda: deliveries(stack) == [(1, 1, True)], 10, "the record of the delivery")
    assert len(receiver.got) == 1


def test_failed_canceled_and_expired_jobs_are_told_too(stack, receiver):
    stack.simulator.http().post("/_control", {"models": {"bad": {"error_status": 400}}})
    stack.submit(route="bad", webhook={"url": receiver.url})
    receiver.wait(1)
    later = stack.sql("select to_char(now() + interval '1 hour', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")[0][0]
    job = stack.submit(run_at=later, webhook={"url": receiver.url})
    stack.http().post(f"/v1/jobs/{job['id']}/cancel")
    receiver.wait(2)
    stack.submit(run_at=later, webhook={"url": receiver.url})
    stack.sql("update parked set expires_at = now()")
    receiver.wait(3)
    assert [json.loads(b)["type"] for _, b in receiver.got] == ["job.failed", "job.canceled", "job.expired"]
    assert json.loads(receiver.got[0][1])["data"]["error"]["code"] == "bad_request"


def test_a_receiver_that_never_answers_holds_up_nobody_else(make_stack, receiver):
    stack = make_stack(config={"webhook": {"concurrency": 4, "timeout": "60s"}})
    slow = Receiver()
    try:
        slow.hold.clear()
        for _ in range(40):
            stack.submit(webhook={"url": slow.url})
        slow.wait(3)
        wait_until(lambda: stack.sql("select count(*) from webhook_delivery") == [(40,)], 20, "the backlog")
        stack.submit(webhook={"url": receiver.url})
        receiver.wait(1)
        assert len(slow.got) == 3  # three quarters of the slots, and none of its deliveries is over
        slow.hold.set()
        wait_until(lambda: deliveries(stack) == [(1, 1, True)] * 41, 20, "all deliveries")  # what was given back has lost no try
        assert len(slow.got) == 40
    finally:
        slow.hold.set()
        slow.server.shutdown()
        slow.server.server_close()


def test_a_refused_delivery_comes_again_with_the_same_id_and_body(stack, receiver):
    receiver.answers = [500, 302, 429]
    receiver.headers = {"Location": "http://127.0.0.1:1/", "Retry-After": "1"}
    stack.submit(webhook={"url": receiver.url})
    got = receiver.wait(4)
    assert len({h["webhook-id"] for h, _ in got}) == 1 and len({b for _, b in got}) == 1
    for headers, body in got:
        verify(secret_of(stack), headers, body)
    wait_until(lambda: deliveries(stack) == [(1, 4, True)], 10, "the record of the delivery")
    assert stack.sql("select number, http_status, error is null from webhook_try order by number") == [
        (1, 500, False), (2, 302, False), (3, 429, False), (4, 204, True)]


def test_a_receiver_that_never_takes_it_is_given_up_and_410_at_once(stack, receiver):
    receiver.answers = [503] * 4
    stack.submit(webhook={"url": receiver.url})
    wait_until(lambda: deliveries(stack) == [(2, 4, True)], 20, "the end of the schedule")
    receiver.answers = [410]
    stack.submit(webhook={"url": receiver.url})
    wait_until(lambda: deliveries(stack) == [(2, 4, True), (2, 1, True)], 10, "the end of the second")
    assert len(receiver.got) == 5


def test_private_addresses_are_not_reached(make_stack, receiver):
    stack = make_stack(config={"webhook": {"allow": "", "schedule": "0"}})
    stack.submit()
    stack.sql("insert into webhook_delivery (bucket, id, tenant_id, job_id, event, url) "
              "select bucket, millrace_id(bucket), tenant_id, id, 'job.succeeded', %s from job", receiver.url.replace("127.0.0.1", "localhost"))
    wait_until(lambda: deliveries(stack) == [(2, 1, True)], 15, "the refusal")
    assert receiver.got == []
    assert stack.sql("select http_status, error is not null from webhook_try") == [(None, True)]


def test_a_batch_is_told_once_at_its_end(stack, receiver):
    lines = ['{"route":"default","request":{"messages":[{"role":"user","content":"%d"}]}}' % i for i in range(30)]
    body = {"jobs": [json.loads(line) for line in lines], "webhook": {"url": receiver.url}}
    answer = stack.http().post("/v1/batches", body)
    assert answer.status == 202, answer
    message = json.loads(receiver.wait(1)[0][1])
    assert message["type"] == "batch.completed" and message["data"]["id"] == answer.json["id"]
    assert message["data"]["counts"] == {"succeeded": 30, "failed": 0, "canceled": 0, "expired": 0} and message["data"]["total"] == 30
    wait_until(lambda: deliveries(stack) == [(1, 1, True)], 10, "the record of the delivery")
    assert len(receiver.got) == 1


def test_a_shutdown_does_not_wait_for_a_slow_receiver_after_the_grace(make_stack, receiver):
    stack = make_stack(config={"worker": {"grace": "100ms"}, "webhook": {"timeout": "60s"}})
    receiver.hold.clear()
    stack.submit(webhook={"url": receiver.url})
    receiver.wait(1)
    assert stack.workers[0].term(10) == 0
    assert stack.sql("select state, tries from webhook_delivery") == [(0, 0)]


def test_a_late_message_tells_of_its_own_outcome_though_the_job_was_retried(stack, receiver):
    stack.simulator.http().post("/_control", {"models": {"bad": {"answer": "ok", "fail_first": 1, "error_status": 400}}})
    job = stack.submit(route="bad", webhook={"url": receiver.url})
    receiver.wait(1)
    assert stack.http().post(f"/v1/jobs/{job['id']}/retry").status == 202
    receiver.wait(2)
    stack.sql("update webhook_delivery set next_at = now(), state = 0 where event = 'job.failed' returning 1")
    bodies = [json.loads(body) for _, body in receiver.wait(3)]
    assert [(b["type"], b["data"]["status"]) for b in bodies] == [("job.failed", "failed"), ("job.succeeded", "succeeded"), ("job.failed", "failed")]


def test_responses_and_their_batches_are_told_in_openais_form(make_stack, receiver):
    stack = make_stack(start=False)
    for process in [stack.simulator] + stack.apis:
        process.start()
    stack.simulator.http().post("/_control", {"models": {
        "whole": {}, "cut": {"finish_reason": "length"}, "bad": {"error_class": "bad_request"}}})
    hook = {"webhook": {"url": receiver.url}}
    wanted = {}
    for model, event in (("whole", "completed"), ("cut", "incomplete"), ("bad", "failed"), ("gone", "cancelled")):
        wanted[stack.submit(route=model, **hook)["id"].replace("job_", "resp_")] = f"response.{event}"
    stack.sql("update job set form = 2")
    native = stack.submit(**hook)["id"]
    gone = next(i for i, event in wanted.items() if event == "response.cancelled").replace("resp_", "job_")
    stack.http().post(f"/v1/jobs/{gone}/cancel")
    stack.workers[0].start()
    told, seen = {}, set()
    for headers, body in receiver.wait(5):
        verify(secret_of(stack), headers, body)
        message = json.loads(body)
        if message["type"].startswith("job."):
            assert message["data"]["id"] == native
            continue
        assert list(message) == ["id", "object", "created_at", "type", "data"] and list(message["data"]) == ["id"]
        assert message["id"] == headers["webhook-id"].replace("del_", "evt_") and message["object"] == "event"
        assert abs(message["created_at"] - int(headers["webhook-timestamp"])) < 60
        told[message["data"]["id"]] = message["type"]
        seen.add(message["id"])
    assert told == wanted and len(seen) == 4
