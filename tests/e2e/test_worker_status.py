# SPDX-License-Identifier: Apache-2.0
"""A worker's own /healthz, /readyz and /metrics."""

import re
import signal
import socket

import pytest

from stack import Http, wait_until

LISTEN = {"worker": {"listen": "127.0.0.1:0"}, "queue": {"lease": "1s", "heartbeat": "200ms", "rescue": "200ms"}}


def series(text):
    """{'name{labels}': value} of a Prometheus text, each line of which has to be one."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r'([a-z_]+(?:\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})?) (-?[0-9.]+)', line)
            assert match, line
            found[match[1]] = float(match[2])
    return found


def test_a_worker_counts_what_it_did(make_stack):
    stack = make_stack(config=LISTEN)
    job = stack.submit("hello")
    stack.wait_for(job["id"])
    face = Http(stack.workers[0].url)
    # The outcome is there before the worker hears that it is.
    found = wait_until(lambda: (m := series(face.get("/metrics").text))["millrace_worker_slots_busy"] == 0 and m, 10, "the slot being free")
    assert found["millrace_jobs_claimed_total"] == 1
    assert found['millrace_jobs_finished_total{status="succeeded"}'] == 1
    assert found['millrace_attempts_total{target="sim",code="ok"}'] == 1
    assert found['gen_ai_client_token_usage_total{target="sim",type="output"}'] > 0
    call = "gen_ai_server_request_duration_seconds"
    assert found[call + '_bucket{target="sim",le="+Inf"}'] == found[call + '_count{target="sim"}'] == 1
    requests = 'millrace_http_requests_total{route="/metrics",method="GET",status="200"}'
    assert series(face.get("/metrics").text)[requests] == found.get(requests, 0) + 1


def test_histogram_buckets_are_cumulative(make_stack):
    stack = make_stack(config=LISTEN)
    stack.wait_for(stack.submit("hello")["id"])
    for text in (Http(stack.workers[0].url).get("/metrics").text, stack.admin().get("/metrics").text):
        buckets = {}
        for line in text.splitlines():
            match = re.fullmatch(r'(.*)_bucket\{(.*?),?le="(.*)"\} ([0-9]+)', line)
            if match:
                buckets.setdefault((match[1], match[2]), []).append((float(match[3]), int(match[4])))
        assert buckets
        for points in buckets.values():
            assert points == sorted(points) and points[-1][0] == float("inf")
            assert [n for _, n in points] == sorted(n for _, n in points)


def test_a_worker_says_how_it_is(make_stack):
    stack = make_stack(config=LISTEN)
    face = Http(stack.workers[0].url)
    turns = face.get("/healthz").json["turns"]
    wait_until(lambda: face.get("/healthz").json["turns"] > turns, 5, "a turn of the loop")
    assert face.get("/readyz").json == {"status": "ready"}
    head = face.request("HEAD", "/readyz")
    assert (head.status, head.body) == (200, b"")
    posted = face.post("/metrics", {})
    assert posted.status == 405 and posted.headers["Allow"] == "GET, HEAD"
    assert face.get("/v1/jobs").status == 404


def test_a_worker_without_its_lease_is_not_ready_and_not_unhealthy(make_stack, make_pg):
    pg = make_pg()
    keys = pg.make_template()
    stack = make_stack(config=LISTEN, db=pg.new_database(), keys=keys)
    face = Http(stack.workers[0].url)
    assert face.get("/readyz").status == 200
    pg.stop("fast")
    lost = wait_until(lambda: (a := face.get("/readyz")).status == 503 and a, 10, "not being ready")
    assert lost.json == {"status": "not_ready", "waiting_for": "database"}
    assert face.get("/healthz").status == 200
    pg.start()
    wait_until(lambda: face.get("/readyz").status == 200, 20, "being ready again")


def test_a_draining_worker_says_so(make_stack):
    stack = make_stack(config={**LISTEN, "worker": {"listen": "127.0.0.1:0", "grace": "30s"}})
    control = stack.simulator.http().post("/_control", {"models": {"sim-extract": {"answer": "ok", "latency_ms": 30000}}})
    assert control.status == 200
    stack.submit("hello")
    wait_until(lambda: stack.simulator.http().get("/_control/stats").json["in_flight"] == 1, 10, "the call")
    worker = stack.workers[0]
    face = Http(worker.url)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: face.get("/readyz").json.get("waiting_for") == "draining", 5, "the drain")
    assert series(face.get("/metrics").text)["millrace_worker_slots_busy"] == 1
    worker.signal(signal.SIGTERM)


def test_a_worker_whose_port_is_taken_does_not_start(make_stack):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack = make_stack(start=False, config={"worker": {"listen": f"127.0.0.1:{port}"}})
        worker = stack.workers[0]
        with pytest.raises(AssertionError, match="ended with 1 at its start"):
            worker.start()
        assert [e["worker.listen"] for e in worker.log_events("listen_failed")] == [f"127.0.0.1:{port}"]
        worker.expect_bad_end = True
