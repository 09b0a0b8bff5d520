# SPDX-License-Identifier: Apache-2.0
"""For tests of faults: clients that keep submitting whatever happens, and what must hold afterwards.

    with Load(stack) as load:
        load.wait_accepted(50)
        … break something …
        load.wait_accepted(50)
    check_kept(stack, load)

A client of the load gives each job a key, and repeats a submission that was refused or got no answer, at the next api, until it
is accepted. The key is also the job's tag, by which the simulator counts its calls.
"""

import http.client
import random
import threading
import time
from collections import Counter

from stack import wait_until

PACE = 0.02  # between two submissions of one client: a steady load that leaves the machine's cores to the processes


def script(stack, model="sim-extract", **rule):
    """What the simulated provider does from now on; it replaces the model's earlier rule."""
    http_ = stack.simulator.http()
    known = http_.get("/_control").json["models"].get(model, {})
    answer = http_.post("/_control", {"models": {model: {**dict.fromkeys(known), **rule}}})
    assert answer.status == 200, answer


def calls(stack, tag=None):
    """The simulator's records of its calls, oldest first."""
    answer = stack.simulator.http().get("/_control/calls?limit=100000" + ("" if tag is None else f"&tag={tag}"))
    return answer.json["calls"]


def in_flight(stack):
    return stack.simulator.http().get("/_control/stats").json["in_flight"]


def attempts(stack, job_id):
    answer = stack.http().get(f"/v1/jobs/{job_id}/attempts")
    assert answer.status == 200, answer
    return answer.json["data"]


class Load:
    def __init__(self, stack, clients=4, prefix="load"):
        self.stack = stack
        self.accepted = {}   # key → job id
        self.refusals = []   # answers that were not 2xx
        self.unanswered = 0  # connections that broke
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(f"{prefix}-{n}",), daemon=True) for n in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads), "a submission was not accepted in 60 s"

    def _run(self, prefix):
        n = 0
        while not self.stopping.is_set():
            self._submit(f"{prefix}-{n}")
            n += 1
            self.stopping.wait(PACE)

    def _submit(self, key):
        end = time.monotonic() + 50
        api = random.randrange(len(self.stack.apis))
        while time.monotonic() < end:
            try:
                answer = self.stack.http(api).post("/v1/jobs", self.stack.body(f"tag:{key} hello"),
                                                   headers={"Idempotency-Key": key})
                if answer.status == 202:
                    self.accepted[key] = answer.json["id"]
                    return
                self.refusals.append(answer)
            except (OSError, http.client.HTTPException):
                self.unanswered += 1
            api = (api + 1) % len(self.stack.apis)
            time.sleep(0.05)

    def wait_accepted(self, more, limit=30):
        wanted = len(self.accepted) + more
        wait_until(lambda: len(self.accepted) >= wanted, limit, f"{more} more accepted jobs")


def wait_all_ended(stack, limit=30):
    """Until no job waits or runs."""
    count = "select (select count(*) from ready) + (select count(*) from parked) + (select count(*) from lease)"
    wait_until(lambda: stack.sql(count)[0][0] == 0, limit, "the end of all jobs", step=0.1)


def check_kept(stack, load, limit=30):
    """Every accepted job ended succeeded, with one outcome; no key made two jobs; every upstream call is accounted for."""
    wait_all_ended(stack, limit)
    for answer in load.refusals:
        assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 0, answer
    assert one_outcome_each(stack) == {"succeeded"}
    jobs = {key: (job, interruptions, written) for key, job, interruptions, written in stack.sql(
        "select i.key, i.object_id::text, o.interruptions,"
        " (select count(*) from attempt a where a.bucket = o.bucket and a.job_id = o.job_id and a.number > 0)"
        " from idempotency i left join outcome o on o.bucket = i.bucket and o.job_id = i.object_id")}
    assert set(load.accepted) <= set(jobs), "an accepted job is gone"
    assert len(set(load.accepted.values())) == len(load.accepted)
    assert stack.sql("select count(*) from job")[0][0] == len(jobs), "a job was made twice"
    made = Counter(call["tag"] for call in calls(stack))
    for key, (job, interruptions, written) in jobs.items():
        # A call is in the audit, or it is one that an interruption cut off before it could be.
        assert written <= made[key] <= written + interruptions, (key, job, made[key], written, interruptions)
        assert written >= 1
    return made


def one_outcome_each(stack):
    """How the jobs ended; fails when one has no outcome, or two, or an outcome and a place in the queue."""
    names = {3: "succeeded", 4: "failed", 5: "canceled", 6: "expired"}
    rows = stack.sql(
        "select j.id::text, (select count(*) from outcome o where o.bucket = j.bucket and o.job_id = j.id),"
        " (select count(*) from ready r where r.bucket = j.bucket and r.job_id = j.id)"
        " + (select count(*) from parked p where p.bucket = j.bucket and p.job_id = j.id)"
        " + (select count(*) from lease l where l.bucket = j.bucket and l.job_id = j.id),"
        " (select max(o.status) from outcome o where o.bucket = j.bucket and o.job_id = j.id) from job j")
    for job, outcomes, places, _ in rows:
        assert (outcomes, places) == (1, 0), (job, outcomes, places)
    return {names[row[3]] for row in rows}
