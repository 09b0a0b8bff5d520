# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL restarts, crashes, and loses connections and answers: what was accepted is kept and ends once, and every process
goes on by itself.
"""

import os
import random
import signal
import time

import psycopg2
import pytest

from faults import Load, attempts, calls, check_kept, one_outcome_each, script, wait_all_ended
from stack import is_alive, wait_until

# A submission is refused soon after the database went away, so that the test sees it.
SHORT = {"intake": {"deadline": "300ms"}, "queue": {"lease": "5s"}}


@pytest.fixture
def own_pg(make_pg):
    return make_pg()


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_a_restart_of_postgres_under_load_loses_nothing(how, own_pg, make_stack):
    keys = own_pg.make_template()
    stack = make_stack(apis=2, workers=2, db=own_pg.new_database(), keys=keys, config=SHORT)
    script(stack, latency_ms=30)
    pids = [process.pid for process in stack.processes()]
    with Load(stack) as load:
        load.wait_accepted(40)
        own_pg.kill() if how == "kill" else own_pg.stop(how)
        wait_until(lambda: len(load.refusals) >= 4, 20, "refusals while the database is away")
        own_pg.start()
        load.wait_accepted(40)
    check_kept(stack, load)
    assert [process.pid for process in stack.processes() if is_alive(process.pid)] == pids
    everything_works_again(stack)


def everything_works_again(stack):
    """Each loop of each process, not only the one that the load needs."""
    for api in range(len(stack.apis)):
        wait_until(lambda: stack.http(api).get("/readyz").status == 200, 10, "an api that is ready")
    listening = ("select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%%'"
                 " and application_name like 'millrace%%'")
    wait_until(lambda: stack.sql(listening)[0][0] >= len(stack.workers), 10, "listeners of all workers")
    since = stack.sql("select clock_timestamp()")[0][0]
    wait_until(lambda: stack.sql("select count(*) from worker where state = 0 and beat_at > %s", since)[0][0]
               == len(stack.workers), 10, "heartbeats of all workers")
    job = stack.submit("later", run_at=stack.sql("select to_json(clock_timestamp() + interval '200 ms')")[0][0])
    stack.wait_for(job["id"])


def test_terminated_backends_are_not_noticed_by_clients(make_stack):
    stack = make_stack(apis=2, workers=2)
    script(stack, latency_ms=20)
    some = ("select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name like 'millrace%%' order by random() limit 1")
    killed = 0
    with Load(stack) as load:
        load.wait_accepted(10)
        end = time.monotonic() + 60
        while killed < 15:
            assert time.monotonic() < end, f"{killed} killed in a minute"
            killed += len(stack.sql(some))
            time.sleep(random.uniform(0.05, 0.2))
        load.wait_accepted(20)
    assert load.refusals == [] and load.unanswered == 0
    made = check_kept(stack, load)
    assert set(made.values()) == {1}, made.most_common(3)


def test_statements_that_go_on_behind_closed_connections_do_nothing_twice(own_pg, make_stack):
    """The backends freeze for longer than database.deadline: all statements are sent again on new connections, then the old ones go on."""
    keys = own_pg.make_template()
    stack = make_stack(apis=2, workers=2, db=own_pg.new_database(), keys=keys,
                       config={"database": {"deadline": "500ms"}, "queue": {"lease": "5s"}})
    script(stack, latency_ms=20)
    backends = "select pid from pg_stat_activity where datname = current_database() and application_name like 'millrace%%'"
    good = 0
    with Load(stack) as load:
        for _ in range(8):
            load.wait_accepted(10)
            frozen = [pid for pid, in stack.sql(backends)]
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            try:
                wait_until(lambda: len({pid for pid, in stack.sql(backends)} - set(frozen)) >= 8, 10, "new connections")
                good += 1
            except (AssertionError, psycopg2.OperationalError):
                pass  # one of them froze with a lock in hand that every new connection needs: thawed and tried again
            finally:
                for pid in frozen:
                    os.kill(pid, signal.SIGCONT)
            if good == 3:
                break
        assert good == 3, "the statements were never sent again while the old backends stood still"
        load.wait_accepted(10)
    made = check_kept(stack, load)
    assert set(made.values()) == {1}, made.most_common(3)


def with_fault(make_stack, room, order, config=None):
    """A stack of one api and one worker, one of which has a fault; the file tells what points it passed."""
    stack = make_stack(start=False, config=config)
    process = (stack.apis if room == "api" else stack.workers)[0]
    hits = stack.workdir / "hits"
    process.env = {**process.env, "MILLRACE_FAULTS": order, "MILLRACE_FAULTS_LOG": str(hits)}
    stack.start()
    return stack, lambda: hits.read_text().split("\n") if hits.exists() else []


def test_a_lost_answer_to_accept_makes_one_job(make_stack):
    stack, hits = with_fault(make_stack, "api", "db.result.accept=error@1,db.result.accept=error@3")
    plain = stack.submit("tag:plain hello")
    keyed = stack.submit("tag:keyed hello", headers={"Idempotency-Key": "k"})
    again = stack.submit("tag:keyed hello", headers={"Idempotency-Key": "k"})
    assert again["id"] == keyed["id"] != plain["id"]
    stack.wait_for_all([plain["id"], keyed["id"]])
    assert hits().count("db.result.accept") >= 4
    assert stack.sql("select count(*) from job") == [(2,)]
    assert one_outcome_each(stack) == {"succeeded"}
    assert sorted(call["tag"] for call in calls(stack)) == ["keyed", "plain"]


def test_a_lost_answer_to_claim_runs_its_jobs_once(make_stack):
    stack, hits = with_fault(make_stack, "worker", "db.result.claim=error@1,db.result.claim=error@4")
    jobs = [stack.submit(f"tag:{n} hello")["id"] for n in range(10)]
    stack.wait_for_all(jobs)
    assert hits().count("db.result.claim") >= 2
    assert one_outcome_each(stack) == {"succeeded"}
    assert sorted(call["tag"] for call in calls(stack)) == [str(n) for n in range(10)]
    assert stack.sql("select sum(interruptions), sum(attempts) from outcome") == [(0, 10)]


def test_a_lost_answer_to_record_gives_one_outcome(make_stack):
    stack, hits = with_fault(make_stack, "worker", "db.result.record=error@1,db.result.record=error@3")
    lines = "\n".join('{"request":{"messages":[{"role":"user","content":"tag:%d hello"}]},"route":"default"}' % n for n in range(10))
    batch = stack.http().post("/v1/jobs", lines.encode(), headers={"Content-Type": "application/x-ndjson"})
    assert batch.status == 202, batch
    path = f"/v1/batches/{batch.json['id']}"
    wait_until(lambda: stack.http().get(path).json["status"] == "completed", 20, "the end of the batch")
    assert hits().count("db.result.record") >= 2
    assert one_outcome_each(stack) == {"succeeded"}
    assert sorted(call["tag"] for call in calls(stack)) == [str(n) for n in range(10)]
    assert stack.http().get(path).json["counts"]["succeeded"] == 10
    assert "lease_lost" not in stack.workers[0].log()


def test_a_lost_answer_to_give_back_parks_the_job_once(make_stack):
    stack, hits = with_fault(make_stack, "worker", "db.result.give_back=error@1", {"retry": {"in_place": "0ms"}})
    script(stack, status_sequence=[429, 200], retry_after=1)
    job = stack.submit("tag:one hello")
    assert stack.wait_for(job["id"])["attempts"] == 1
    assert hits().count("db.result.give_back") >= 2
    assert one_outcome_each(stack) == {"succeeded"}
    assert [call["status"] for call in calls(stack)] == [429, 200]
    assert [a["code"] for a in attempts(stack, job["id"])] == ["provider_rate_limit", "ok"]


def test_a_lost_answer_to_attempt_write_counts_the_attempt_once(make_stack):
    stack, hits = with_fault(make_stack, "worker", "db.result.attempt_write=error@1")
    script(stack, status_sequence=[500, 500, 200])
    job = stack.submit("tag:one hello")
    assert stack.wait_for(job["id"])["attempts"] == 3
    assert hits().count("db.result.attempt_write") >= 3
    assert [call["status"] for call in calls(stack)] == [500, 500, 200]
    assert [a["code"] for a in attempts(stack, job["id"])] == ["transient", "transient", "ok"]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "whole"}])
def test_a_lost_answer_to_a_batch_makes_one_batch(headers, make_stack):
    stack, hits = with_fault(make_stack, "api", "db.result.batch_accept=error@1")
    lines = "\n".join('{"request":{"messages":[{"role":"user","content":"tag:%d hello"}]},"route":"default"}' % n for n in range(30))
    batch = stack.http().post("/v1/jobs", lines.encode(), headers={"Content-Type": "application/x-ndjson", **headers})
    assert batch.status == 202, batch
    wait_until(lambda: stack.http().get(f"/v1/batches/{batch.json['id']}").json["status"] == "completed", 20, "the end of the batch")
    assert hits().count("db.result.batch_accept") >= 2
    assert stack.sql("select count(*), sum(total), sum(succeeded) from batch") == [(1, 30, 30)]
    assert stack.sql("select count(*) from job") == [(30,)]
    assert one_outcome_each(stack) == {"succeeded"}
    assert len(calls(stack)) == 30


def test_a_claim_that_commits_after_it_was_given_up_leaves_no_job_behind(make_stack):
    """The server goes on with a statement whose client has left: what it leased then must not wait for this worker for ever."""
    stack = make_stack(config={"database": {"deadline": "500ms"}, "worker": {"claim": 3}, "queue": {"lease": "2s"}})
    first = stack.submit("the lane is known")
    stack.wait_for(first["id"])
    stack.sql("create function slow_lease() returns trigger language plpgsql as $$ begin"
              " if (select count(*) from slow) < 1 then insert into slow values (1); perform pg_sleep(1.5); end if;"
              " return null; end $$")
    stack.sql("create table slow (n int)")
    stack.sql("create trigger slow_lease after insert on lease for each statement execute function slow_lease()")
    jobs = [stack.submit(f"tag:{n} hello")["id"] for n in range(9)]
    stack.wait_for_all(jobs, limit=20)
    wait_all_ended(stack)
    assert one_outcome_each(stack) == {"succeeded"}
    assert sorted(call["tag"] for call in calls(stack) if call["tag"]) == [str(n) for n in range(9)]
