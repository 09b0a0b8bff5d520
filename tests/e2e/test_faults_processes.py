# SPDX-License-Identifier: Apache-2.0
"""Processes are killed, frozen and told to stop: each accepted job ends once, and an interruption is no attempt."""

import http.client
import signal
import socket
import threading

from faults import Load, attempts, calls, check_kept, in_flight, one_outcome_each, script, wait_all_ended
from stack import wait_until


def worker_of_leases(stack):
    """The worker that has all running jobs."""
    (pid, _), = stack.sql("select w.pid, count(*) from lease l join worker w on w.id = l.worker_id group by w.pid")
    return next(worker for worker in stack.workers if worker.pid == pid)


def others(stack, worker):
    return next(w for w in stack.workers if w is not worker)


# --- kill -9 ---


def test_an_api_killed_after_each_answer_keeps_every_job(make_stack):
    stack = make_stack(start=False)
    api, = stack.apis
    stack.simulator.start()
    api.start()
    accepted = []
    for n in range(30):
        answer = stack.http().post("/v1/jobs", stack.body(f"tag:{n} hello"))
        api.kill()
        assert answer.status == 202, answer
        accepted.append(answer.json["id"])
        api.start()
    for job in accepted:
        assert stack.get(job)["status"] == "queued"
    stack.workers[0].start()
    stack.wait_for_all(accepted)
    assert one_outcome_each(stack) == {"succeeded"}
    assert sorted(int(call["tag"]) for call in calls(stack)) == list(range(30))


def test_a_worker_killed_during_a_call_has_its_job_run_once_more(make_stack):
    stack = make_stack(workers=2, config={"queue": {"lease": "1500ms", "heartbeat": "300ms"}})
    script(stack, hang=True, fail_first=1)
    job = stack.submit("tag:one hello")
    wait_until(lambda: in_flight(stack) == 1, 10, "the call")
    worker_of_leases(stack).kill()
    done = stack.wait_for(job["id"])
    assert (done["interruptions"], done["attempts"]) == (1, 1)
    first, second = calls(stack)
    assert first["canceled"] and second["status"] == 200
    interrupted, served = attempts(stack, job["id"])
    assert (interrupted["code"], interrupted["cost"]) == ("interrupted", {"usd": None})
    assert served["code"] == "ok"
    assert one_outcome_each(stack) == {"succeeded"}


def test_a_job_that_kills_its_workers_ends_as_poison(make_stack):
    stack = make_stack(config={"queue": {"lease": "1s", "heartbeat": "200ms", "rescue": "100ms"}, "job": {"max_interruptions": 2}})
    script(stack, hang=True)
    job = stack.submit("tag:one hello")
    for n in (1, 2):
        wait_until(lambda: len(calls(stack)) == n, 15, f"call {n}")
        stack.workers[0].kill()
        stack.workers[0].start()
    done = stack.wait_for(job["id"], "failed")
    assert done["error"]["code"] == "poison" and done["interruptions"] == 2
    assert len(calls(stack)) == 2
    script(stack)


def test_the_whole_fleet_killed_under_load_loses_nothing(make_stack):
    stack = make_stack(apis=2, workers=2, config={"queue": {"lease": "1500ms", "heartbeat": "300ms"}})
    script(stack, latency_ms=100)
    with Load(stack) as load:
        load.wait_accepted(40)
        for process in stack.apis + stack.workers:
            process.kill()
        for process in stack.apis + stack.workers:
            process.start()
        load.wait_accepted(40)
    check_kept(stack, load)
    assert load.unanswered > 0


# --- a frozen worker ---


def test_a_worker_frozen_past_its_lease_writes_nothing(make_stack):
    stack = make_stack(workers=2, config={"queue": {"lease": "1500ms", "heartbeat": "300ms"}})
    script(stack, hang=True, fail_first=3)
    for n in range(3):
        stack.submit(f"tag:{n} hello")
    wait_until(lambda: in_flight(stack) == 3, 10, "three calls")
    frozen = stack.workers[0]
    holds = "select l.job_id::text from lease l join worker w on w.id = l.worker_id where w.pid = %s"
    wait_until(lambda: stack.sql("select count(*) from lease")[0][0] == 3, 10, "three leases")
    if not stack.sql(holds, frozen.pid):
        frozen = stack.workers[1]
    mine = [row[0] for row in stack.sql(holds, frozen.pid)]
    frozen.stop()
    wait_until(lambda: stack.sql("select count(*) from outcome where interruptions = 1 and status = 3 and job_id::text = any(%s)",
                                 mine)[0][0] == len(mine), 20, "the outcomes of the other worker")
    before = stack.sql("select job_id, token, worker_id, finished_at from outcome order by 1, 2")
    assert sum(call["canceled"] for call in calls(stack)) == 0
    frozen.cont()
    frozen.wait_log('"declared_dead"')
    wait_until(lambda: in_flight(stack) == 3 - len(mine), 10, "the end of the frozen worker's calls")
    assert sum(call["canceled"] for call in calls(stack)) == len(mine)
    assert stack.sql("select job_id, token, worker_id, finished_at from outcome order by 1, 2") == before
    wait_until(lambda: stack.sql("select count(*) from worker where pid = %s and state = 0", frozen.pid)[0][0] == 1, 10,
               "its registration under a new id")
    others(stack, frozen).kill()
    stack.wait_for(stack.submit("tag:after hello")["id"])
    wait_all_ended(stack)
    assert one_outcome_each(stack) == {"succeeded"}


def test_a_rescue_that_races_with_the_ends_of_calls_gives_one_outcome_each(make_stack):
    stack = make_stack(workers=2, config={"queue": {"lease": "1s", "heartbeat": "200ms", "rescue": "100ms"}})
    script(stack, latency_ms=200, jitter_ms=1600)
    first, second = stack.workers
    jobs = []
    for turn, frozen in enumerate((first, second, first)):
        jobs += [stack.submit(f"tag:{turn}-{n} hello")["id"] for n in range(40)]
        wait_until(lambda: in_flight(stack) > 10, 10, "calls")
        frozen.stop()
        (identity,), = stack.sql("select id::text from worker where pid = %s order by started_at desc limit 1", frozen.pid)
        lapsed = "select state = 3 or beat_at < now() - interval '1 s' from worker where id::text = %s"
        wait_until(lambda: stack.sql(lapsed, identity)[0][0], 10, "the lapse of the lease", step=0.005)
        frozen.cont()
    wait_all_ended(stack)
    assert one_outcome_each(stack) == {"succeeded"}
    assert len(set(jobs)) == 120 == stack.sql("select count(*) from outcome")[0][0]
    made = len(calls(stack))
    written, interruptions = stack.sql(
        "select (select count(*) from attempt where number > 0), (select sum(interruptions) from outcome)")[0]
    assert written == 120 and 120 <= made <= 120 + interruptions


# --- SIGTERM ---


def test_a_worker_that_is_told_to_stop_finishes_its_calls(make_stack):
    stack = make_stack()
    worker, = stack.workers
    script(stack, latency_ms=1000)
    jobs = [stack.submit(f"tag:{n} hello")["id"] for n in range(10)]
    wait_until(lambda: in_flight(stack) == 10, 10, "ten calls")
    later = None
    worker.signal(signal.SIGTERM)
    worker.wait_log('"draining"')
    later = stack.submit("tag:later hello")["id"]
    assert worker.wait(20) == 0
    assert all(stack.get(job)["status"] == "succeeded" for job in jobs)
    assert stack.get(later)["status"] == "queued", "a draining worker claims nothing"
    assert sorted(call["tag"] for call in calls(stack)) == [str(n) for n in range(10)]
    assert stack.sql("select sum(interruptions), sum(attempts) from outcome") == [(0, 10)]
    assert stack.sql("select state from worker") == [(2,)]


def test_after_the_grace_jobs_go_back_uncounted(make_stack):
    stack = make_stack(config={"worker": {"grace": "200ms"}})
    worker, = stack.workers
    script(stack, hang=True)
    jobs = [stack.submit(f"tag:{n} hello")["id"] for n in range(10)]
    wait_until(lambda: in_flight(stack) == 10, 10, "ten calls")
    assert worker.term() == 0
    assert stack.sql("select count(*), sum(attempts), sum(interruptions) from ready") == [(10, 0, 0)]
    wait_until(lambda: in_flight(stack) == 0, 10, "the end of the calls")
    assert all(call["canceled"] for call in calls(stack))
    script(stack)
    worker.start()
    for job in stack.wait_for_all(jobs):
        assert (job["attempts"], job["interruptions"]) == (1, 0)
    aborted, served = attempts(stack, jobs[0])
    assert (aborted["code"], served["code"]) == ("aborted", "ok")
    assert one_outcome_each(stack) == {"succeeded"}


def test_a_second_signal_ends_the_grace(make_stack):
    stack = make_stack(config={"worker": {"grace": "600s"}})
    worker, = stack.workers
    script(stack, hang=True)
    job = stack.submit("tag:one hello")["id"]
    wait_until(lambda: in_flight(stack) == 1, 10, "the call")
    worker.signal(signal.SIGTERM)
    worker.wait_log('"draining"')
    assert worker.is_running()
    assert worker.term(20) == 0
    assert stack.get(job)["status"] == "queued"
    assert stack.sql("select attempts, interruptions from ready") == [(0, 0)]


def test_a_stopping_worker_waits_for_a_database_that_is_away(make_pg, make_stack):
    """Outcomes are held until they can be written; then it ends well."""
    cluster = make_pg()
    keys = cluster.make_template()
    stack = make_stack(db=cluster.new_database(), keys=keys, config={"queue": {"lease": "20s"}})
    worker, = stack.workers
    script(stack, latency_ms=500)
    jobs = [stack.submit(f"tag:{n} hello")["id"] for n in range(5)]
    wait_until(lambda: in_flight(stack) == 5, 10, "five calls")
    cluster.stop("immediate")
    worker.signal(signal.SIGTERM)
    worker.wait_log('"draining"')
    wait_until(lambda: in_flight(stack) == 0, 10, "the ends of the calls")
    assert worker.is_running()
    cluster.start()
    assert worker.wait(20) == 0
    assert one_outcome_each(stack) == {"succeeded"}
    assert len(calls(stack)) == len(jobs)


def test_an_api_that_is_told_to_stop_answers_what_it_has(make_stack):
    stack = make_stack(config={"server": {"grace": "20s"}})
    api, = stack.apis
    script(stack, latency_ms=2000)
    answers = []

    def wait_for_job(n):
        answers.append(stack.http().post("/v1/jobs", stack.body(f"tag:{n} hello"), headers={"Prefer": "wait=20"}))

    threads = [threading.Thread(target=wait_for_job, args=(n,), daemon=True) for n in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: in_flight(stack) == 3, 10, "three calls")
    idle = http.client.HTTPConnection("127.0.0.1", int(stack.url.rsplit(":", 1)[1]), timeout=10)
    idle.request("GET", "/healthz")
    assert idle.getresponse().read() is not None
    api.signal(signal.SIGTERM)
    wait_until(lambda: not connects(stack), 10, "new connections being refused")
    for thread in threads:
        thread.join(20)
    assert api.wait(20) == 0
    assert is_closed(idle.sock), "an idle connection stayed open"
    assert len(answers) == 3, "a request in flight was not answered"
    for answer in answers:
        # The job's end, or where it stands: never a broken connection.
        assert answer.status in (200, 202) and answer.json["id"].startswith("job_"), answer
    wait_all_ended(stack)
    assert one_outcome_each(stack) == {"succeeded"}


def connects(stack):
    try:
        socket.create_connection(("127.0.0.1", int(stack.url.rsplit(":", 1)[1])), timeout=5).close()
        return True
    except OSError:
        return False


def is_closed(sock):
    try:
        return sock is None or sock.recv(100) == b""
    except ConnectionError:
        return True


def test_an_api_restarted_under_load_loses_no_answer(make_stack):
    """A rolling restart: with Idempotency-Keys, what was cut off is found again, and nothing is made twice."""
    stack = make_stack(apis=2)
    with Load(stack) as load:
        for api in stack.apis * 2:
            load.wait_accepted(10)
            assert api.restart()
        load.wait_accepted(10)
    made = check_kept(stack, load)
    assert set(made.values()) == {1}
    assert stack.sql("select sum(interruptions) from outcome") == [(0,)]
