# SPDX-License-Identifier: Apache-2.0
"""What an accepted answer is worth: idempotency over processes, crashes after the answer, lost answers of the database, drain."""

import contextlib
import json
import signal
import socket
import threading
import time

import psycopg2

from pg import TEMPLATE
from stack import wait_until


def many(n, call):
    """call(i) in n threads at once; the results in order."""
    results = [None] * n
    gate = threading.Barrier(n)

    def run(i):
        gate.wait()
        results[i] = call(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    return results


def test_one_key_makes_one_job_however_many_race(make_stack):
    stack = make_stack(apis=2, workers=0, simulator=True)
    body = stack.body("once")
    answers = many(100, lambda i: stack.http(api=i % 2).post("/v1/jobs", body, headers={"Idempotency-Key": "race"}))
    assert {a.status for a in answers} == {202}, [a for a in answers if a.status != 202][:3]
    assert len({a.json["id"] for a in answers}) == 1
    assert sum(a.headers["Idempotent-Replayed"] == "true" for a in answers) == 99
    assert stack.sql("select count(*) from job") == [(1,)] and stack.sql("select count(*) from ready") == [(1,)]


def test_many_keys_race_over_two_processes_without_a_deadlock(make_stack):
    stack = make_stack(apis=2, workers=0, simulator=True)
    body = stack.body("once")

    def call(i):
        keys = range(20) if i % 2 else range(19, -1, -1)
        return [stack.http(api=i % 2).post("/v1/jobs", body, headers={"Idempotency-Key": f"k{k}"}) for k in keys]

    bad = [a for one in many(16, call) for a in one if a.status != 202]
    assert not bad, bad[:3]
    assert stack.sql("select count(*) from job") == [(20,)]


def test_a_key_is_for_one_request(make_stack):
    stack = make_stack(workers=0, simulator=True)
    http = stack.http()
    first = http.post("/v1/jobs", stack.body("one"), headers={"Idempotency-Key": "k"})
    assert first.status == 202 and first.headers["Idempotent-Replayed"] is None
    quoted = http.post("/v1/jobs", stack.body("one"), headers={"Idempotency-Key": '"k"'})
    assert quoted.json["id"] == first.json["id"] and quoted.headers["Idempotent-Replayed"] == "true"
    other = http.post("/v1/jobs", stack.body("two"), headers={"Idempotency-Key": "k"})
    assert other.status == 422 and other.json["code"] == "idempotency_key_reused"
    lines = json.dumps(stack.body("one")).encode()
    batch = http.post("/v1/batches", lines, headers={"Idempotency-Key": "k", "Content-Type": "application/x-ndjson"})
    assert batch.status == 422 and batch.json["code"] == "idempotency_key_reused"
    http.post(f"/v1/jobs/{first.json['id']}/cancel")
    replay = http.post("/v1/jobs", stack.body("one"), headers={"Idempotency-Key": "k"})
    assert replay.status == 202 and replay.json["status"] == "canceled"  # as it stands now
    stack.sql("update idempotency set expires_at = now() - interval '1 second'")
    fresh = http.post("/v1/jobs", stack.body("one"), headers={"Idempotency-Key": "k"})
    assert fresh.status == 202 and fresh.json["id"] != first.json["id"]


def test_the_form_of_a_key(make_stack):
    stack = make_stack(workers=0, simulator=True)
    http = stack.http()

    def status(key):
        return http.post("/v1/jobs", stack.body(), headers={"Idempotency-Key": key}).status

    assert status("a" * 255) == 202 and status('"%s"' % ("a" * 255)) == 202
    for bad in ("", '""', "a" * 256, '"open', '"a"b"', "\xfc", "a\tb"):
        assert status(bad) == 400, bad


def test_a_key_can_be_required(make_stack):
    stack = make_stack(workers=0, simulator=True, config={"idempotency": {"required": True}})
    answer = stack.http().post("/v1/jobs", stack.body())
    assert answer.status == 400 and answer.json["code"] == "idempotency_key_missing"
    assert stack.http().post("/v1/jobs", stack.body(), headers={"Idempotency-Key": "k"}).status == 202


def test_kill_9_right_after_each_answer_loses_nothing(make_stack):
    stack = make_stack(workers=0, simulator=True)
    ids = []
    for i in range(5):
        answer = stack.http().post("/v1/jobs", stack.body(f"n{i}"))
        stack.apis[0].kill()
        assert answer.status == 202
        ids.append(answer.json["id"])
        stack.apis[0].start()
    assert [stack.get(i)["status"] for i in ids] == ["queued"] * 5
    assert stack.sql("select count(*) from ready") == [(5,)] and stack.sql("select count(*) from payload") == [(5,)]


def test_a_crash_between_commit_and_answer_is_found_by_the_key(make_stack):
    stack = make_stack(workers=0, simulator=True, env={"MILLRACE_FAULTS": "accept.after_commit=exit@1"})
    api = stack.apis[0]
    try:
        stack.http().post("/v1/jobs", stack.body(), headers={"Idempotency-Key": "k"})
        raise AssertionError("the api was to end before its answer")
    except OSError:
        api.expect_bad_end = True
    assert api.wait(10) == 137
    api.env.pop("MILLRACE_FAULTS")
    api.start()
    replay = stack.http().post("/v1/jobs", stack.body(), headers={"Idempotency-Key": "k"})
    assert replay.status == 202 and replay.headers["Idempotent-Replayed"] == "true"
    assert stack.sql("select count(*) from job") == [(1,)]


def test_a_lost_answer_of_the_commit_makes_no_second_job(make_stack):
    stack = make_stack(workers=0, simulator=True, env={"MILLRACE_FAULTS": "db.result.accept=error@1"})
    for headers in ({}, {"Idempotency-Key": "k"}):
        answer = stack.http().post("/v1/jobs", stack.body(), headers=headers)
        assert answer.status == 202 and "Idempotent-Replayed" not in answer.headers, answer
        assert stack.get(answer.json["id"])["status"] == "queued"
    assert stack.sql("select count(*) from job") == [(2,)] and stack.sql("select count(*) from ready") == [(2,)]


def test_sigterm_answers_what_is_held_and_ends(make_stack):
    stack = make_stack(workers=0, simulator=True)
    answers = []
    held = threading.Thread(target=lambda: answers.append(stack.http().post("/v1/jobs?wait=60", stack.body(), timeout=60)))
    held.start()
    wait_until(lambda: stack.sql("select count(*) from job") == [(1,)], 10, "the held job")
    time.sleep(0.2)  # the hold begins after the commit; either way the answer must come
    assert stack.apis[0].term(10) == 0
    held.join(10)
    assert answers and answers[0].status == 202 and answers[0].json["status"] == "queued"


def test_a_second_signal_ends_the_grace(make_stack):
    stack = make_stack(workers=0, simulator=True, config={"server": {"grace": "60s"}})
    connection = stack.http()
    s = socket.create_connection((connection.host, connection.port))
    s.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {connection.key}\r\n"
              "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{".encode())
    wait_until(lambda: "millrace_http_connections 2" in stack.admin().get("/metrics").text, 10, "the slow request")
    stack.apis[0].signal(signal.SIGTERM)
    stack.apis[0].wait_log('"event":"drain"')
    assert stack.apis[0].is_running()
    assert stack.apis[0].term(10) == 0
    s.close()


def test_sighup_takes_over_what_may_change(make_stack):
    stack = make_stack(workers=0, simulator=True)
    stack.apis[0].reconfigure({"idempotency": {"required": True}})
    wait_until(lambda: stack.http().post("/v1/jobs", stack.body()).status == 400, 10, "the new setting")
    stack.apis[0].config_path.write_text("{")
    stack.apis[0].signal(signal.SIGHUP)
    stack.apis[0].wait_log("config_refused")
    assert stack.http().post("/v1/jobs", stack.body()).json["code"] == "idempotency_key_missing"


@contextlib.contextmanager
def table_locked(stack, table):
    """Nobody else can use the table meanwhile, as if its disk had stopped."""
    connection = psycopg2.connect(stack.db)
    try:
        connection.cursor().execute(f"lock table {table} in access exclusive mode")
        yield
    finally:
        connection.close()


def in_background(n, call):
    threads = [threading.Thread(target=call) for _ in range(n)]
    for t in threads:
        t.start()
    return threads


def test_a_full_intake_says_when_to_come_back(make_stack):
    stack = make_stack(workers=0, simulator=True, config={"intake": {"queue": 1}})
    stack.submit()
    with table_locked(stack, "job"):
        calls = in_background(12, lambda: stack.http().post("/v1/jobs", stack.body()))

        def refusal():
            answer = stack.http().post("/v1/jobs", stack.body(), timeout=5)
            return answer if answer.status == 503 else None

        refused = wait_until(refusal, 10, "a refusal")
        assert refused.json["code"] == "overloaded" and refused.headers["Retry-After"]
    for c in calls:
        c.join(30)
    stack.submit()


def test_the_end_does_not_wait_for_a_database_that_hangs(make_stack):
    stack = make_stack(workers=0, simulator=True, config={"server": {"grace": "60s"}})
    stack.submit()

    def submit():
        try:
            stack.http().post("/v1/jobs", stack.body())
        except OSError:
            pass  # cut by the second signal

    with table_locked(stack, "job"):
        calls = in_background(5, submit)
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        wait_until(lambda: stack.sql(waiting)[0][0] > 0, 10, "a group commit that hangs")
        stack.apis[0].signal(signal.SIGTERM)
        stack.apis[0].wait_log('"event":"drain"')
        assert stack.apis[0].term(10) == 0
    for c in calls:
        c.join(30)


def test_a_job_that_the_database_refuses_fails_alone(make_stack):
    stack = make_stack(workers=0, simulator=True)
    stack.sql("create function refuse() returns trigger language plpgsql as $$ begin raise exception 'xyzzy'; end $$")
    stack.sql("create trigger refuse before insert on payload for each row when (new.body like '%poison%') execute function refuse()")
    answers = many(30, lambda i: stack.http().post("/v1/jobs", stack.body("poison" if i == 7 else f"n{i}")))
    assert [a.status for i, a in enumerate(answers) if i != 7] == [202] * 29
    assert answers[7].status == 500 and answers[7].json["code"] == "database_error"
    assert "xyzzy" not in answers[7].text  # the database's words are for the log
    assert stack.sql("select count(*) from job") == [(29,)]


def test_an_outage_of_the_database_is_503_and_ends_with_it(make_stack, make_pg):
    cluster = make_pg()
    keys = cluster.make_template()
    stack = make_stack(workers=0, simulator=True, db=cluster.url(TEMPLATE), keys=keys, config={"intake": {"deadline": "1s"}})
    stack.submit()
    cluster.kill()
    assert stack.http().get("/healthz").status == 200
    wait_until(lambda: stack.http().get("/readyz").status == 503, 10, "the api noticing the outage")
    answer = stack.http().post("/v1/jobs", stack.body())
    assert answer.status == 503 and answer.json["code"] == "database_unavailable" and answer.json["retryable"] is True
    cluster.start()
    wait_until(lambda: stack.http().get("/readyz").status == 200, 20, "the api noticing the return")
    stack.submit()
