# SPDX-License-Identifier: Apache-2.0
"""Workers that crash, freeze, drain and lose their database: each job ends once, and nothing waits for ever."""

import signal
import threading

import pytest

from stack import wait_until

LEASE = {"queue": {"lease": "1s", "heartbeat": "200ms", "rescue": "200ms"}}
NDJSON = {"Content-Type": "application/x-ndjson"}


def script(stack, **models):
    answer = stack.simulator.http().post("/_control", {"models": models})
    assert answer.status == 200, answer


def slow(stack, ms=30000):
    script(stack, **{"sim-extract": {"answer": "ok", "latency_ms": ms}})


def fast(stack):
    script(stack, **{"sim-extract": {"answer": "ok", "latency_ms": 0}})


def in_flight(stack):
    return stack.simulator.http().get("/_control/stats").json["in_flight"]


def calls(stack, tag):
    return stack.simulator.http().get(f"/_control/calls?tag={tag}").json["calls"]


def wait_in_flight(stack, n):
    wait_until(lambda: in_flight(stack) == n, 10, f"{n} calls in flight")


def rows_of_waiting(stack):
    return stack.sql("select (select count(*) from ready), (select count(*) from parked), (select count(*) from lease)")[0]


def each_ended_once(stack, n):
    assert stack.sql("select count(*), count(distinct job_id) from outcome") == [(n, n)]
    assert rows_of_waiting(stack) == (0, 0, 0)


def test_a_killed_worker_s_job_runs_once_more_on_another(make_stack):
    stack = make_stack(workers=2, start=False, config=LEASE)
    for process in (stack.simulator, stack.apis[0], stack.workers[0]):
        process.start()
    slow(stack)
    job = stack.submit("tag:killed hi")
    wait_in_flight(stack, 1)
    stack.workers[0].kill()
    fast(stack)
    stack.workers[1].start()
    done = stack.wait_for(job["id"])
    assert done["attempts"] == 1 and done["interruptions"] == 1
    assert [r["code"] for r in stack.http().get(f"/v1/jobs/{job['id']}/attempts").json["data"]] == ["interrupted", "ok"]
    assert len(calls(stack, "killed")) == 2
    each_ended_once(stack, 1)


def test_a_frozen_worker_can_write_nothing_once_its_job_is_another_s(make_stack):
    stack = make_stack(workers=2, start=False, config=LEASE)
    for process in (stack.simulator, stack.apis[0], stack.workers[0]):
        process.start()
    slow(stack, 1500)
    job = stack.submit("tag:frozen hi")
    wait_in_flight(stack, 1)
    stack.workers[0].stop()
    stack.workers[1].start()
    done = stack.wait_for(job["id"])
    first_outcome = stack.sql("select token, worker_id from outcome")
    stack.workers[0].cont()
    stack.workers[0].wait_log("declared_dead")
    slow(stack, 0)
    again = [stack.submit(f"{i}") for i in range(20)]
    stack.wait_for_all([j["id"] for j in again])
    assert stack.sql("select token, worker_id from outcome where job_id = %s::uuid", job["id"][4:]) == first_outcome
    assert done["interruptions"] == 1
    each_ended_once(stack, 21)
    # It registered again, under a new id.
    wait_until(lambda: stack.sql("select count(*) from worker where state = 0") == [(2,)], 5, "two live workers")


def test_a_job_that_kills_workers_ends_as_poison(make_stack):
    stack = make_stack(config={**LEASE, "job": {"max_interruptions": 2}})
    slow(stack)
    job = stack.submit()
    for i in range(2):
        wait_until(lambda: stack.sql("select count(*) from lease where interruptions = %s", i) == [(1,)], 10, "the claim")
        stack.workers[0].kill()
        stack.workers[0].start()
    done = stack.wait_for(job["id"], "failed")
    assert done["error"]["code"] == "poison" and done["interruptions"] == 2
    each_ended_once(stack, 1)


def test_a_drain_lets_running_calls_end(make_stack):
    stack = make_stack(config={"worker": {"grace": "20s"}})
    slow(stack, 700)
    jobs = [stack.submit(str(i)) for i in range(10)]
    wait_in_flight(stack, 10)
    assert stack.workers[0].term() == 0
    assert [stack.get(j["id"])["status"] for j in jobs] == ["succeeded"] * 10
    assert stack.sql("select distinct state from worker") == [(2,)]


def test_a_drain_gives_back_what_does_not_end_and_counts_nothing(make_stack):
    stack = make_stack(config={"worker": {"grace": "200ms"}})
    slow(stack)
    jobs = [stack.submit(f"tag:drained {i}") for i in range(10)]
    wait_in_flight(stack, 10)
    assert stack.workers[0].term(10) == 0
    assert rows_of_waiting(stack) == (10, 0, 0)
    assert stack.sql("select distinct attempts, interruptions from ready") == [(0, 0)]
    assert stack.sql("select distinct code, cost_nanousd > 0 from attempt") == [("aborted", True)]
    fast(stack)
    stack.workers[0].start()
    done = stack.wait_for_all([j["id"] for j in jobs])
    assert {(d["attempts"], d["interruptions"]) for d in done} == {(1, 0)}
    each_ended_once(stack, 10)


def test_a_second_signal_ends_the_grace(make_stack):
    stack = make_stack(config={"worker": {"grace": "10m"}})
    slow(stack)
    stack.submit()
    wait_in_flight(stack, 1)
    worker = stack.workers[0]
    worker.signal(signal.SIGTERM)
    worker.wait_log("draining")
    assert worker.is_running()
    assert worker.term(10) == 0
    assert rows_of_waiting(stack) == (1, 0, 0)


def test_a_cancel_survives_the_drain_of_its_worker(make_stack):
    stack = make_stack(config={"worker": {"grace": "0"}})
    slow(stack)
    job = stack.submit()
    wait_in_flight(stack, 1)
    stack.workers[0].stop()
    assert stack.http().post(f"/v1/jobs/{job['id']}/cancel").status in (200, 202)
    stack.workers[0].signal(signal.SIGTERM)
    stack.workers[0].cont()
    assert stack.workers[0].wait(10) == 0
    assert stack.get(job["id"])["status"] == "canceled"
    each_ended_once(stack, 1)


def test_a_cancel_aborts_the_call(stack):
    slow(stack)
    job = stack.submit()
    wait_in_flight(stack, 1)
    stack.http().post(f"/v1/jobs/{job['id']}/cancel")
    done = stack.wait_for(job["id"], "canceled")
    wait_in_flight(stack, 0)
    assert done["error"]["code"] == "canceled"
    assert stack.sql("select code, cost_nanousd > 0 from attempt") == [("aborted", True)]
    each_ended_once(stack, 1)


def in_seconds(stack, s):
    return stack.sql("select to_char((now() + %s * interval '1 second') at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')", s)[0][0]


def test_a_deadline_ends_running_waiting_and_parked_jobs(make_stack):
    stack = make_stack(config={"worker": {"slots": 1}})
    slow(stack)
    running = stack.submit(expires_at=in_seconds(stack, 4))
    wait_in_flight(stack, 1)
    waiting = stack.submit(expires_at=in_seconds(stack, 1.0))
    jobs = [running, waiting]
    for job in jobs:
        assert stack.wait_for(job["id"], "expired")["error"]["code"] == "expired"
    wait_in_flight(stack, 0)
    script(stack, limited={"error_status": 429, "retry_after": 30})
    hopeless = stack.submit(route="limited", expires_at=in_seconds(stack, 10))
    done = stack.wait_for(hopeless["id"], "failed")
    assert done["error"]["code"] == "quota_exhausted", "the wait would pass its deadline"
    parked = stack.submit(run_at=in_seconds(stack, 60), expires_at=in_seconds(stack, 61))
    stack.sql("update parked set expires_at = now()")
    stack.wait_for(parked["id"], "expired")
    each_ended_once(stack, 4)


def test_a_job_for_later_starts_when_its_time_comes(stack):
    job = stack.submit(run_at=in_seconds(stack, 1.2))
    assert job["status"] == "scheduled"
    stack.wait_for(job["id"])
    late = stack.sql("select extract(epoch from o.started_at - j.run_at) from outcome o join job j on j.id = o.job_id")[0][0]
    assert 0 <= late < 5


def test_a_batch_s_counts_follow_its_outcomes(stack):
    script(stack, bad={"error_status": 400})
    lines = ['{"route":"default","request":{"messages":[{"role":"user","content":"%d"}]}}' % i for i in range(40)]
    lines += ['{"route":"bad","request":{"messages":[{"role":"user","content":"%d"}]}}' % i for i in range(5)]
    batch = stack.http().post("/v1/jobs", "\n".join(lines).encode(), headers=NDJSON).json
    done = wait_until(lambda: (b := stack.http().get(f"/v1/batches/{batch['id']}").json)["finished_at"] and b, 20, "the batch")
    assert done["counts"]["succeeded"] == 40 and done["counts"]["failed"] == 5
    assert stack.sql("select count(*) from batch_delta") == [(0,)]
    each_ended_once(stack, 45)


@pytest.mark.parametrize("statement", ["claim", "record", "give_back", "attempt_write"])
def test_a_lost_answer_of_the_database_changes_nothing(make_stack, statement):
    in_place = "0" if statement == "give_back" else "2s"
    stack = make_stack(env={"MILLRACE_FAULTS": f"db.result.{statement}=error@1"}, config={"retry": {"in_place": in_place}})
    script(stack, **{"sim-extract": {"answer": "ok", "fail_first": 1, "error_status": 503}})
    done = stack.wait_for(stack.submit("tag:lost hi")["id"])
    assert done["attempts"] == 2 and done["interruptions"] == 0
    assert stack.sql("select code from attempt order by started_at") == [("provider_overloaded",), ("ok",)]
    assert len(calls(stack, "lost")) == 2
    each_ended_once(stack, 1)


def test_a_database_that_refuses_an_end_gets_it_later(make_stack):
    stack = make_stack()
    stack.sql("alter table outcome add constraint nothing check (status < 0) not valid")
    job = stack.submit()
    stack.workers[0].wait_log("record_refused")
    wait_until(lambda: len(stack.workers[0].log_events("record_refused")) >= 3, 15, "another try")
    assert stack.get(job["id"])["status"] == "running"
    stack.sql("alter table outcome drop constraint nothing")
    assert stack.wait_for(job["id"], "failed")["error"]["code"] == "internal_error"
    each_ended_once(stack, 1)


def test_restarts_of_the_database_under_load_lose_and_double_nothing(make_pg, make_stack):
    cluster = make_pg()
    keys = cluster.make_template()
    stack = make_stack(db=cluster.new_database(), keys=keys, workers=2, config={"worker": {"slots": 50}})
    slow(stack, 150)
    n, accepted, refused = 300, [], []

    def submit():
        for i in range(n // 3):
            try:
                accepted.append(stack.submit(f"tag:load {i}", headers={"Idempotency-Key": f"{threading.get_ident()}-{i}"})["id"])
            except (AssertionError, OSError) as error:
                refused.append(error)

    threads = [threading.Thread(target=submit) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(accepted) > 30, 20, "the first jobs")
    cluster.restart("immediate")
    wait_until(lambda: len(accepted) + len(refused) > 150, 40, "more jobs")
    cluster.restart("fast")
    for thread in threads:
        thread.join(90)
    ended = wait_until(lambda: (r := stack.sql("select count(*), count(distinct job_id), count(*) filter (where status = 3) from outcome")[0])[0]
                       >= len(accepted) and rows_of_waiting(stack) == (0, 0, 0) and r, 60, "the end of all jobs")
    jobs = stack.sql("select count(*) from job")[0][0]
    assert ended == (jobs, jobs, jobs) and jobs >= len(accepted)
