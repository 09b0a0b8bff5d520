# SPDX-License-Identifier: Apache-2.0
"""States of the queue that a race or an outage leaves behind: whatever stands there is found and ends."""

import signal
import threading

import psycopg2
import pytest

from faults import calls, script
from stack import wait_until


def in_an_hour(stack):
    return stack.sql("select to_json(now() + interval '1 hour')")[0][0]


def floor(stack):
    return stack.sql("select coalesce(max(floor), 0) from lane_floor")[0][0]


def test_a_job_below_the_floor_is_found(make_stack):
    """Its insert committed after claims had moved past its place (a large batch, a claim that was rolled back)."""
    stack = make_stack()
    script(stack, latency_ms=150)
    for _ in range(4):
        before = floor(stack)
        stack.wait_for(stack.submit("moves the floor")["id"])
        wait_until(lambda: floor(stack) > before, 5, "a floor")
    late = stack.submit("late", run_at=in_an_hour(stack))
    stack.sql("with p as (delete from parked returning *) insert into ready (pass, tenant_id, token, expires_at, bucket, lane, job_id, priority)"
              " select 0, tenant_id, token, expires_at, bucket, lane, job_id, priority from p returning 1")
    stack.wait_for(late["id"], limit=10)


@pytest.mark.parametrize("sqlstate", ["53100", "57014"])  # disk full, statement timeout
def test_a_paid_answer_outlives_a_database_that_cannot_write(make_stack, sqlstate):
    stack = make_stack()
    stack.sql("create function full_disk() returns trigger language plpgsql as $$ begin"
              f" raise exception 'could not extend file' using errcode = '{sqlstate}'; end $$")
    stack.sql("create trigger full_disk before insert on outcome for each row execute function full_disk()")
    job = stack.submit("tag:paid hi")
    wait_until(lambda: len(calls(stack, "paid")) == 1, 10, "the call")
    refused = "select xact_rollback from pg_stat_database where datname = current_database()"
    before = stack.sql(refused)[0][0]
    wait_until(lambda: stack.sql(refused)[0][0] >= before + 4, 20, "tries to write")
    stack.sql("drop trigger full_disk on outcome")
    assert stack.wait_for(job["id"])["result"] is not None
    assert len(calls(stack, "paid")) == 1


@pytest.mark.parametrize("status, attempts", [(503, 12), (429, 5)])
def test_backoff_grows_over_the_leases_of_a_job(make_stack, status, attempts):
    """Each wait goes back to the queue, so each call belongs to a new lease."""
    stack = make_stack(config={"retry": {"base": "20ms", "max": "3s", "in_place": "0ms"}})
    script(stack, error_status=status)
    stack.submit("tag:growing hi", max_attempts=attempts)
    bound = 150 if status == 503 else 1500  # of a first wait
    wait_until(lambda: any(e["wait_ms"] > bound for e in stack.workers[0].log_events("attempt_failed")), 20, "a longer wait")


def test_a_batch_that_takes_longer_than_the_deadline_of_a_statement_is_written(make_stack):
    """Its transaction is many statements: each answer is progress, and the connection is left only when none comes."""
    stack = make_stack(workers=0, config={"database": {"deadline": "1s"}, "intake": {"deadline": "15s"}})
    stack.sql("create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return null; end $$")
    stack.sql("create trigger slow after insert on ready for each statement execute function slow()")
    line = b'{"route":"default","request":{"messages":[{"role":"user","content":"hi"}]}}\n'
    answer = stack.http().post("/v1/jobs", line * 5000, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status == 202 and answer.json["total"] == 5000, answer
    assert stack.sql("select count(*) from ready") == [(5000,)]


def test_a_claim_that_is_answered_after_the_lease_starts_no_call(make_stack):
    """The worker freezes while its claim is under way; another runs the job; then the first reads its answer."""
    stack = make_stack(workers=2, start=False, config={"queue": {"lease": "1s", "heartbeat": "200ms", "rescue": "200ms"}})
    frozen, other = stack.workers
    for process in (stack.simulator, stack.apis[0], frozen):
        process.start()
    lock = psycopg2.connect(stack.db)
    lock.cursor().execute("lock table lease in share mode")
    job = stack.submit("tag:late hi")
    waits = "select count(*) from pg_locks where not granted and relation = 'lease'::regclass"
    wait_until(lambda: stack.sql(waits)[0][0] > 0, 10, "the claim")
    frozen.signal(signal.SIGSTOP)
    lock.rollback()
    lock.close()
    wait_until(lambda: stack.sql("select count(*) from lease")[0][0] == 1, 10, "the claim's commit")
    other.start()
    assert stack.wait_for(job["id"])["interruptions"] == 1
    frozen.signal(signal.SIGCONT)
    frozen.wait_log("declared_dead")
    stack.wait_for(stack.submit("another")["id"])
    assert len(calls(stack, "late")) == 1


def test_a_slow_look_at_the_queue_does_not_make_the_next_jobs_wait(make_stack):
    """Without notices a job is found by looks only. One that took long (a busy machine, an outage) is no reason to stay away for long."""
    stack = make_stack(config={"queue": {"notify": False}}, start=False)
    worker, hits = stack.workers[0], stack.workdir / "hits"
    worker.env = {**worker.env, "MILLRACE_FAULTS": "db.send.lanes=sleep:600@1", "MILLRACE_FAULTS_LOG": str(hits)}
    stack.start()
    wait_until(lambda: hits.exists() and "db.result.lanes" in hits.read_text(), 10, "the slow look's answer")
    stack.wait_for(stack.submit("goes on")["id"], limit=15)  # fifty times as long as the look: 30 s


def test_a_job_whose_notice_was_missed_is_found_when_notices_come_again(make_stack):
    stack = make_stack(config={"queue": {"poll": "1m", "lease": "20s"}})
    worker, = stack.workers
    stack.wait_for(stack.submit("heard of")["id"])
    # The look that follows a busy one, after a second, is over; the next one comes after a minute.
    wait_until(lambda: stack.sql("select now() > finished_at + interval '2 s' from outcome") == [(True,)], 10, "two seconds")
    worker.stop()
    stack.sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query ilike 'listen%%millrace_ready%%'")
    job = stack.submit("not heard of")
    worker.cont()
    stack.wait_for(job["id"], limit=20)


def test_lists_that_take_long_do_not_hold_up_submissions(make_stack):
    stack = make_stack(workers=0)
    stack.http().get("/v1/batches")
    lock = psycopg2.connect(stack.db)
    lock.cursor().execute("lock table batch in access exclusive mode")
    lists = [threading.Thread(target=stack.http().get, args=("/v1/batches",)) for _ in range(20)]
    for thread in lists:
        thread.start()
    try:
        wait_until(lambda: stack.sql("select count(*) from pg_locks where not granted")[0][0] >= 2, 10, "lists that wait")
        for _ in range(6):
            stack.submit("goes on")
        assert stack.sql("select count(*) from pg_locks where not granted")[0][0] >= 2, "the lists were over"
    finally:
        lock.rollback()
        lock.close()
        for thread in lists:
            thread.join()
