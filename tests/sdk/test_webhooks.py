# SPDX-License-Identifier: Apache-2.0
"""Webhooks against the official `standardwebhooks` package, which verifies them as a receiver would."""

import json
import os
import subprocess
import threading

import pytest

from stack import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))


class Receiver:
    def __init__(self, secret, fail):
        self.process = subprocess.Popen(["node", os.path.join(HERE, "webhook_receiver.mjs"), secret, str(fail)],
                                        stdout=subprocess.PIPE, text=True)
        self.port = json.loads(self.process.stdout.readline())["port"]
        self.requests = []
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"

    def read(self):
        for line in self.process.stdout:
            self.requests.append(json.loads(line))

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        self.thread.join(10)
        self.process.stdout.close()


@pytest.fixture
def receiver(stack):
    made = []

    def make(fail=0):
        secret = stack.sql("select webhook_secret from tenant order by id limit 1")[0][0]
        made.append(Receiver(secret, fail))
        return made[-1]

    yield make
    for r in made:
        r.close()


def test_a_webhook_is_verified_by_the_official_package(stack, receiver):
    r = receiver()
    job = stack.submit("hello", webhook={"url": r.url}, metadata={"customer": "acme"})
    wait_until(lambda: r.requests, 20, "a webhook")
    got = r.requests[0]
    assert got["verified"], got
    assert (got["type"], got["job"]) == ("job.succeeded", job["id"])


def test_a_receiver_that_first_fails_gets_the_same_message_again_until_it_answers_2xx(stack, receiver):
    r = receiver(fail=2)
    stack.submit("hello", webhook={"url": r.url})
    wait_until(lambda: len(r.requests) >= 3, 20, "three tries")
    assert [x["answered"] for x in r.requests] == [500, 500, 204]
    assert all(x["verified"] for x in r.requests)
    assert len({x["id"] for x in r.requests}) == 1 and len({x["body_sha256"] for x in r.requests}) == 1
    rows = wait_until(lambda: stack.sql("select state, tries from webhook_delivery where state = 1"), 10, "the delivery being done")
    assert rows == [(1, 3)]
    assert [x[0] for x in stack.sql("select http_status from webhook_try order by number")] == [500, 500, 204]


def test_a_failed_job_is_told_of_too(stack, receiver):
    r = receiver()
    stack.simulator.http().post("/_control", {"models": {"sim-extract": {"error_status": 400}}})
    job = stack.submit("hello", webhook={"url": r.url})
    wait_until(lambda: r.requests, 20, "a webhook")
    assert (r.requests[0]["type"], r.requests[0]["job"]) == ("job.failed", job["id"])


def test_a_delivery_that_never_succeeds_ends_dead_with_all_its_tries_kept(stack, receiver):
    r = receiver(fail=1000)
    stack.submit("hello", webhook={"url": r.url})
    rows = wait_until(lambda: stack.sql("select tries from webhook_delivery where state = 2"), 30, "the delivery being given up")
    assert rows == [(4,)]  # the schedule of the tests has four entries
    assert stack.sql("select count(*) from webhook_try") == [(4,)]


def test_a_private_address_is_refused_unless_it_is_allowed(make_stack):
    stack = make_stack(config={"webhook": {"allow": ""}})
    answer = stack.http().post("/v1/jobs", stack.body("hello", webhook={"url": "http://127.0.0.1:9/"}))
    assert answer.status == 400, answer
    assert answer.json["param"] == "/webhook/url"
