# SPDX-License-Identifier: Apache-2.0
"""Cancels in every state, jobs that must not start early, deadlines: what the client said is what happens."""

import json
import threading

from faults import attempts, calls, in_flight, one_outcome_each, script, wait_all_ended
from stack import wait_until

NDJSON = {"Content-Type": "application/x-ndjson"}


def cancel(stack, job_id):
    answer = stack.http().post(f"/v1/jobs/{job_id}/cancel")
    assert answer.status == 200, answer
    return answer.json


def database_time(stack, later):
    """RFC 3339, by the database's clock."""
    return stack.sql("select to_json(clock_timestamp() + %s::interval)", later)[0][0]


def submit_batch(stack, n):
    lines = [json.dumps({"route": "default", "request": {"messages": [{"role": "user", "content": f"tag:{i} hello"}]}})
             for i in range(n)]
    answer = stack.http().post("/v1/jobs", "\n".join(lines).encode(), headers=NDJSON)
    assert answer.status == 202, answer
    return answer.json["id"]


# --- cancel ---


def test_a_canceled_scheduled_job_never_runs(stack):
    job = stack.submit("tag:one hello", run_at=database_time(stack, "2 s"))
    assert job["status"] == "scheduled"
    assert cancel(stack, job["id"])["status"] == "canceled"
    later = stack.submit("tag:later hello", run_at=database_time(stack, "2 s"))
    stack.wait_for(later["id"])
    assert [call["tag"] for call in calls(stack)] == ["later"]
    assert one_outcome_each(stack) == {"succeeded", "canceled"}


def test_a_canceled_queued_job_never_runs(make_stack):
    stack = make_stack(config={"worker": {"slots": 1}})
    script(stack, latency_ms=2000)
    first = stack.submit("tag:first hello")
    wait_until(lambda: in_flight(stack) == 1, 10, "the first call")
    script(stack)
    waiting = stack.submit("tag:waiting hello")
    assert cancel(stack, waiting["id"])["status"] == "canceled"
    last = stack.submit("tag:last hello")
    stack.wait_for_all([first["id"], last["id"]])
    assert [call["tag"] for call in calls(stack)] == ["first", "last"]


def test_a_canceled_running_job_has_its_call_aborted(stack):
    script(stack, hang=True)
    job = stack.submit("tag:one hello")
    wait_until(lambda: in_flight(stack) == 1, 10, "the call")
    assert cancel(stack, job["id"])["status"] == "canceled"
    wait_until(lambda: in_flight(stack) == 0, 10, "the end of the call")
    call, = calls(stack)
    assert call["canceled"]
    assert attempts(stack, job["id"])[0]["code"] == "aborted"
    done = stack.get(job["id"])
    assert done["error"]["code"] == "canceled" and done["attempts"] == 0
    assert one_outcome_each(stack) == {"canceled"}


def test_a_canceled_parked_job_is_not_tried_again(stack):
    script(stack, error_status=429, retry_after=30)
    job = stack.submit("tag:one hello")
    wait_until(lambda: stack.sql("select count(*) from parked") == [(1,)], 10, "the job being parked")
    waiting = stack.get(job["id"])
    assert waiting["status"] == "queued" and waiting["queue"]["waiting_for"] == "rate_limit"
    assert cancel(stack, job["id"])["status"] == "canceled"
    assert stack.sql("select count(*) from parked") == [(0,)]
    assert len(calls(stack)) == 1
    assert one_outcome_each(stack) == {"canceled"}


def test_a_cancel_after_the_end_changes_nothing(stack):
    job = stack.wait_for(stack.submit("tag:one hello")["id"])
    assert cancel(stack, job["id"]) == job
    canceled = stack.submit("tag:two hello", run_at=database_time(stack, "1 hour"))["id"]
    first, second = cancel(stack, canceled), cancel(stack, canceled)
    assert first == second and first["status"] == "canceled"
    assert stack.sql("select count(*) from outcome") == [(2,)]


def test_cancels_that_race_with_everything_leave_one_outcome_each(make_stack):
    stack = make_stack(apis=2, workers=2)
    script(stack, latency_ms=5, jitter_ms=60)

    def submit_and_cancel(api):
        for _ in range(25):
            job = stack.submit("hello", api=api)["id"]
            answer = stack.http(1 - api).post(f"/v1/jobs/{job}/cancel")
            assert answer.status == 200, answer
            ended.append((job, answer.json["status"]))

    ended = []
    threads = [threading.Thread(target=submit_and_cancel, args=(n % 2,), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ended) == 100
    wait_all_ended(stack)
    assert one_outcome_each(stack) <= {"succeeded", "canceled"}
    for job, status in ended:
        if status in ("succeeded", "canceled"):
            assert stack.get(job)["status"] == status, "a terminal state changed"


def test_a_canceled_batch_makes_no_new_call(make_stack):
    stack = make_stack(workers=2, config={"worker": {"slots": 8}})
    script(stack, latency_ms=150)
    batch = submit_batch(stack, 300)
    wait_until(lambda: len(calls(stack)) >= 40, 20, "forty calls")
    answer = stack.http().post(f"/v1/batches/{batch}/cancel")
    made = len(calls(stack))
    assert answer.status == 200 and answer.json["status"] in ("canceling", "canceled"), answer
    wait_until(lambda: stack.http().get(f"/v1/batches/{batch}").json["status"] == "canceled", 20, "the end of the batch")
    counts = stack.http().get(f"/v1/batches/{batch}").json["counts"]
    assert len(calls(stack)) == made, "a call was made after the answer"
    assert counts["succeeded"] + counts["canceled"] == 300 and counts["queued"] == counts["running"] == counts["failed"] == 0
    assert counts["succeeded"] <= made
    wait_until(lambda: in_flight(stack) == 0, 10, "the ends of the calls")
    assert one_outcome_each(stack) == {"succeeded", "canceled"}


# --- time ---


def test_no_scheduled_job_starts_early(make_stack):
    stack = make_stack(apis=2, workers=2)
    jobs = [stack.submit(f"tag:{n} hello", api=n % 2, run_at=database_time(stack, f"{200 + 37 * n} ms"))["id"] for n in range(30)]
    stack.wait_for_all(jobs)
    early = stack.sql("select j.run_at, o.started_at from job j join outcome o on o.bucket = j.bucket and o.job_id = j.id"
                      " where o.started_at < j.run_at")
    assert early == []
    assert stack.sql("select count(*) from job where run_at is not null") == [(30,)]
    assert len(calls(stack)) == 30


def test_a_retry_waits_for_its_time(make_stack):
    stack = make_stack(config={"retry": {"in_place": "0ms"}})
    script(stack, status_sequence=[429, 200], retry_after=1)
    job = stack.submit("tag:one hello")["id"]
    stack.wait_for(job)
    first, second = calls(stack)
    assert second["at_ms"] - first["at_ms"] >= 1000


def test_waiting_and_running_jobs_expire(make_stack):
    stack = make_stack(config={"worker": {"slots": 1}})
    script(stack, hang=True)
    running = stack.submit("tag:running hello", expires_at=database_time(stack, "4 s"))
    wait_until(lambda: in_flight(stack) == 1, 10, "the call")
    waiting = stack.submit("tag:waiting hello", expires_at=database_time(stack, "700 ms"))
    expired = stack.wait_for(waiting["id"], "expired")
    assert expired["error"]["code"] == "expired" and expired["attempts"] == 0
    aborted = stack.wait_for(running["id"], "expired")
    assert aborted["error"]["code"] == "expired"
    wait_until(lambda: in_flight(stack) == 0, 10, "the end of the call")
    call, = calls(stack)
    assert call["tag"] == "running" and call["canceled"]
    assert stack.sql("select count(*) from outcome o join job j on j.bucket = o.bucket and j.id = o.job_id"
                     " where o.finished_at < j.expires_at") == [(0,)]
    assert one_outcome_each(stack) == {"expired"}


def test_a_wait_past_the_deadline_ends_the_job_at_once(make_stack):
    stack = make_stack(config={"retry": {"in_place": "0ms"}})
    script(stack, error_status=429, retry_after=1)
    job = stack.submit("tag:one hello", expires_at=database_time(stack, "1500 ms"))
    done = stack.wait_for(job["id"], ("failed", "expired"))
    # The first 429 may be waited for, the second asks for more time than is left; a slow machine comes too late for either.
    assert done["error"]["code"] in ("quota_exhausted", "expired"), done
    assert done["attempts"] == 0 and len(calls(stack)) <= 2
    assert stack.sql("select count(*) from parked") == [(0,)]


def test_a_scheduled_job_whose_deadline_passed_is_never_called(make_stack):
    """Both times pass while no worker is there; whatever a worker does first when it comes, it must not call."""
    stack = make_stack(workers=2, start=False)
    stack.simulator.start()
    stack.apis[0].start()
    jobs = [stack.submit(f"tag:{n} hello", run_at=database_time(stack, "200 ms"), expires_at=database_time(stack, "600 ms"))["id"]
            for n in range(10)]
    jobs += [stack.submit(f"tag:{n} hello", expires_at=database_time(stack, "600 ms"))["id"] for n in range(10, 20)]
    wait_until(lambda: stack.sql("select bool_and(expires_at < clock_timestamp()) from job") == [(True,)], 10, "the deadlines")
    for worker in stack.workers:
        worker.start()
    for job in stack.wait_for_all(jobs, "expired"):
        assert job["error"]["code"] == "expired" and job["attempts"] == 0
    assert calls(stack) == []
    assert one_outcome_each(stack) == {"expired"}


def test_a_job_whose_deadline_passed_while_it_waited_for_a_slot_is_never_called(make_stack):
    """The sweep of what is overdue never works here, so the claim itself comes upon such jobs; the connection to the provider is warm."""
    stack = make_stack(config={"worker": {"slots": 1}}, start=False)
    worker, = stack.workers
    worker.env = {**worker.env, "MILLRACE_FAULTS": "db.send.expire=error@1+"}
    stack.start()
    for turn in range(3):
        script(stack, hang=True)
        first = stack.submit(f"tag:first-{turn} hello")
        wait_until(lambda: in_flight(stack) == 1, 10, "the first call")
        late = [stack.submit("tag:late hello", expires_at=database_time(stack, "300 ms"))["id"] for _ in range(3)]
        script(stack)
        good = stack.submit(f"tag:good-{turn} hello")
        wait_until(lambda: stack.sql("select count(*) from ready where expires_at < clock_timestamp()") == [(3,)], 10, "the deadlines")
        assert cancel(stack, first["id"])["status"] == "canceled"
        stack.wait_for_all(late, "expired")
        stack.wait_for(good["id"])
    assert calls(stack, "late") == []
    assert one_outcome_each(stack) == {"succeeded", "expired", "canceled"}


def test_jobs_below_the_floor_of_their_lane_are_found(make_stack):
    """Claims start at the lane's floor. A job that slipped below it (here all do) must not wait for ever."""
    stack = make_stack(config={"worker": {"slots": 1}})
    script(stack, hang=True, fail_first=1)
    first = stack.submit("tag:first hello")
    wait_until(lambda: in_flight(stack) == 1, 10, "the first call")
    jobs = [stack.submit(f"tag:{n} hello")["id"] for n in range(6)]
    script(stack, latency_ms=250)
    stack.sql("insert into lane_floor select id, 4, 1000000000000 from lane"
              " on conflict (lane, priority) do update set floor = excluded.floor")
    stack.workers[0].kill()
    stack.workers[0].start()  # it reads the floors, and has no slot free when they come into use
    stack.wait_for_all([first["id"], *jobs], limit=30)
    assert one_outcome_each(stack) == {"succeeded"}
