# SPDX-License-Identifier: Apache-2.0
"""Clients of every face that keep working while processes, connections and the database die, and what must be true when all is quiet again.

    with Traffic(stack, seed) as traffic:
        Chaos(stack, cluster, seed).run(12)
    traffic.settle()
    check(stack, traffic)

Each job of the traffic has a tag of its own as its request, which the simulated provider echoes and counts calls by: so an answer that belongs to another
request, a call that nobody accounts for, and a line that is there twice are all seen.
"""

import http.client
import json
import random
import re
import threading
import time
from collections import Counter

import batchfile
import forms
from faults import calls, script
from stack import wait_until

ANTHROPIC = {"anthropic-version": "2023-06-01"}
NDJSON = {"Content-Type": "application/x-ndjson"}
BROKEN = (OSError, http.client.HTTPException)
PATIENCE = 60  # seconds for one repeated request

# Routes of the traffic. `bad` fails at once (its jobs are retried), `narrow` has limits that must hold.
TARGETS = {"good": {}, "other": {}, "bad": {}, "narrow": {"limits": {"requests": 1200, "concurrency": 4, "headroom": 1.0}}}
ROUTES = {"default": {"targets": ["good", "other"]}, "bad": {"targets": ["bad"]}, "narrow": {"targets": ["narrow"]}}
ANSWERS = {"good": {"echo": True, "latency_ms": 20, "jitter_ms": 200, "error_rate": 0.1, "error_status": 500},
           "other": {"echo": True, "latency_ms": 20, "between_ms": 15, "chunk_bytes": 4, "error_rate": 0.1, "cut_after_bytes": 200},
           "bad": {"error_status": 400, "latency_ms": 10}, "narrow": {"echo": True, "latency_ms": 150}}
CONFIG = {"queue": {"lease": "2s", "heartbeat": "400ms", "rescue": "200ms"}, "job": {"max_interruptions": 20}, "timeout": {"total": "5s"},
          "events": {"keep": "2s"}, "files": {"sweep": "200ms"}, "intake": {"deadline": "2s"}, "server": {"grace": "5s"}}


def bare(an_id):
    """Without its kind: the same for a job whatever face it is seen by."""
    return re.split("[_-]", an_id)[-1]


class Traffic:
    """Clients in threads. What they were promised is kept: ids that were accepted, by key where there is one, and batches."""

    def __init__(self, stack, seed, clients=6):
        self.stack, self.seed = stack, seed
        self.accepted, self.keyed, self.batches, self.wrong = set(), {}, {}, []
        self.deleted = set()  # batches that were asked to be deleted: gone, or not when the answer was lost
        self.done = Counter()
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(2 * PATIENCE)
        assert not any(thread.is_alive() for thread in self.threads), "a client hangs"

    def _run(self, number):
        client = Client(self, number)
        while not self.stopping.is_set():
            try:
                self.done[client.act()] += 1
            except AssertionError as complaint:
                self.wrong.append(complaint)
            except BROKEN:
                self.done["broken"] += 1
            self.stopping.wait(0.02)

    def accept(self, job_id, key=None):
        """An id that a client was given; with the same key always the same."""
        with self.lock:
            self.accepted.add(bare(job_id))
            if key is not None:
                assert self.keyed.setdefault(key, job_id) == job_id, f"key {key} gave {self.keyed[key]} and {job_id}"

    def settle(self, limit=40):
        """Until nothing waits, runs, or is to be counted or written."""
        quiet = ("select (select count(*) from ready) + (select count(*) from parked) + (select count(*) from lease) + (select count(*) from batch_delta)"
                 " + (select count(*) from batch where finished_at is null and form <> 1) + (select count(*) from batch_file where look_at is not null)")
        wait_until(lambda: self.stack.sql(quiet)[0][0] == 0, limit, "the end of all that was accepted", step=0.2)


class Client:
    """One client: what it does next is drawn by the seed; where it asks, too."""

    def __init__(self, traffic, number):
        self.traffic, self.stack = traffic, traffic.stack
        self.random = random.Random(f"{traffic.seed}-{number}")
        self.name, self.count = f"s{traffic.seed}-{number}", 0
        self.mine = []  # ids of native jobs

    def act(self):
        action = self.random.choices([self.job, self.lines, self.chat, self.stream, self.response, self.file_batch, self.messages, self.again, self.cancel,
                                      self.erase], [20, 4, 12, 10, 8, 3, 3, 6, 6, 4])[0]
        action()
        return action.__name__

    # --- ways to ask ---

    def tag(self):
        self.count += 1
        return f"{self.name}-{self.count}"

    def http(self):
        return self.stack.http(self.random.randrange(len(self.stack.apis)))

    def once(self, method, path, body=None, headers=None):
        return self.http().request(method, path, body, headers=headers, timeout=30)

    def kept(self, path, body, headers, key):
        """Repeats with the key until the answer is neither a broken connection nor a request to come back."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                answer = self.once("POST", path, body, {**headers, "Idempotency-Key": key})
                if answer.status != 503 or "x-millrace-attempts" in answer.headers:
                    return answer
            except BROKEN:
                pass
            time.sleep(0.1)
        raise AssertionError(f"{path} with key {key} was not answered for {PATIENCE} s")

    def post(self, path, body, headers=None):
        """(answer, key): keyed or not. Without a key the request is sent once."""
        if self.random.random() < 0.6:
            key = f"k-{self.tag()}"
            return self.kept(path, body, headers or {}, key), key
        return self.once("POST", path, body, headers), None

    def route(self):
        return self.random.choices(["default", "bad", "narrow"], [6, 1, 3])[0]

    # --- what it does ---

    def job(self):
        answer, key = self.post("/v1/jobs", self.stack.body(f"tag:{self.tag()} hello", route=self.route()))
        if answer.status in (200, 202):
            self.traffic.accept(answer.json["id"], key)
            self.mine.append(answer.json["id"])
        else:
            assert answer.status == 503, answer

    def lines(self):
        n = self.random.randrange(1, 40)
        lines = [json.dumps(self.stack.body(f"tag:{self.tag()} hello", route=self.route())) for _ in range(n)]
        self.batch(self.post("/v1/batches", "\n".join(lines).encode(), NDJSON), "/v1/batches", n)

    def batch(self, told, path, n):
        answer, key = told
        if answer.status in (200, 202):
            self.traffic.accept(answer.json["id"], key)
            with self.traffic.lock:
                self.traffic.batches[answer.json["id"]] = (path, n)
        else:
            assert answer.status == 503, answer

    def chat(self):
        text = f"tag:{self.tag()} hello"
        body = {"model": self.route(), "messages": [{"role": "user", "content": text}]}
        answer, key = self.post("/v1/chat/completions", body)
        if "x-millrace-job-id" in answer.headers:
            self.traffic.accept(answer.headers["x-millrace-job-id"], key)
        if answer.status == 200:
            assert answer.json["choices"][0]["message"]["content"] == text, answer
        else:
            assert answer.status in (400, 409, 502, 503) and answer.json["error"]["code"], answer

    def stream(self):
        text = f"tag:{self.tag()} hello " + "and so on " * 8
        headers = {"Idempotency-Key": f"s-{self.tag()}"} if self.random.random() < 0.5 else {}
        body = {"model": self.route(), "messages": [{"role": "user", "content": text}], "stream": True}
        connection, response = self.http().open("POST", "/v1/chat/completions", body, headers, timeout=30)
        try:
            if response.headers["x-millrace-job-id"]:
                self.traffic.accept(response.headers["x-millrace-job-id"], headers.get("Idempotency-Key"))
            raw, leaves = b"", self.random.random() < 0.15
            while piece := response.read1(65536):
                raw += piece
                if leaves and b"delta" in raw:
                    return
        finally:
            connection.close()
        if response.status != 200:
            return
        told = "".join((c["choices"][0]["delta"].get("content") or "") for c in map(json.loads, re.findall(rb"^data: (\{.*\})$", raw, re.M))
                       if c.get("choices"))
        assert told == text if b"data: [DONE]" in raw else text.startswith(told), (text, told, raw[-300:])

    def response(self):
        text = f"tag:{self.tag()} hello"
        answer, key = self.post("/v1/responses", {"model": self.route(), "input": text, "background": True})
        if answer.status != 200:
            assert answer.status == 503, answer
            return
        self.traffic.accept(answer.json["id"], key)
        path = f"/v1/responses/{answer.json['id']}"
        what = self.random.random()
        if what < 0.2:
            assert self.once("POST", f"{path}/cancel").status in (200, 503)
        elif what < 0.3:
            assert self.once("DELETE", path).status in (200, 404, 503)
        elif what < 0.5:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                now = self.once("GET", path)
                if now.status == 200 and now.json["status"] == "completed":
                    assert now.json["output"][0]["content"][0]["text"] == text, now
                    return
                time.sleep(0.1)

    def file_batch(self):
        n = self.random.randrange(1, 60)
        lines = [batchfile.chat_line(f"line-{i}", f"tag:{self.tag()} hello", model=self.route()) for i in range(n)]
        file = forms.upload(self.http(), batchfile.as_jsonl(lines), "batch", name="in.jsonl")
        if file.status != 200:
            assert file.status == 503, file
            return
        if self.random.random() < 0.1:
            self.once("DELETE", f"/v1/files/{file.json['id']}")
            return
        body = {"input_file_id": file.json["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        self.batch(self.post("/v1/batches", body), "/v1/batches", n)

    def messages(self):
        n = self.random.randrange(1, 30)
        items = [{"custom_id": f"line-{i}", "params": {"model": self.route(), "max_tokens": 50, "messages": [
            {"role": "user", "content": f"tag:{self.tag()} hello"}]}} for i in range(n)]
        self.batch(self.post("/v1/messages/batches", {"requests": items}, ANTHROPIC), "/v1/messages/batches", n)

    def again(self):
        """A new series for a job or a batch that failed."""
        if self.random.random() < 0.3 and self.traffic.batches:
            batch, (path, _) = self.random.choice(list(self.traffic.batches.items()))
            if path == "/v1/batches":
                assert self.once("POST", f"{path}/{batch}/retry").status in (200, 202, 409, 503)
        elif self.mine:
            assert self.once("POST", f"/v1/jobs/{self.random.choice(self.mine)}/retry").status in (202, 409, 410, 503)

    def cancel(self):
        if self.random.random() < 0.2 and self.traffic.batches:
            batch, (path, _) = self.random.choice(list(self.traffic.batches.items()))
            answer = self.once("POST", f"{path}/{batch}/cancel", headers=ANTHROPIC)
            assert answer.status in (200, 202, 400, 404, 409, 503), answer
        elif self.mine:
            answer = self.once("POST", f"/v1/jobs/{self.random.choice(self.mine[-20:])}/cancel")
            assert answer.status in (200, 202, 503), answer

    def erase(self):
        if self.random.random() < 0.2 and self.traffic.batches:
            batch, (path, _) = self.random.choice(list(self.traffic.batches.items()))
            if path == "/v1/messages/batches":
                with self.traffic.lock:
                    self.traffic.deleted.add(batch)
                answer = self.once("DELETE", f"{path}/{batch}", headers=ANTHROPIC)
                assert answer.status in (200, 400, 404, 409, 503), answer
        elif self.mine:
            answer = self.once("DELETE", f"/v1/jobs/{self.random.choice(self.mine)}")
            assert answer.status in (200, 204, 409, 503), answer


class Chaos:
    """What breaks, and when: drawn by the seed."""

    def __init__(self, stack, cluster, seed):
        self.stack, self.cluster = stack, cluster
        self.random = random.Random(f"{seed}-chaos")
        self.happened = Counter()

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self.random.uniform(0.2, 1.0))
            blow = self.random.choices([self.kill_worker, self.kill_api, self.freeze, self.cut, self.restart_database], [5, 3, 4, 4, 1])[0]
            blow()
            self.happened[blow.__name__] += 1
        for process in self.stack.processes():  # no blow leaves one stopped
            assert process.is_running(), f"{process.name} ended by itself:\n{process.log_tail()}"

    def kill_worker(self):
        worker = self.random.choice(self.stack.workers)
        worker.kill()
        worker.start()

    def kill_api(self):
        api = self.random.choice(self.stack.apis)
        api.kill()
        api.start()

    def freeze(self):
        """For less than a lease, or for longer."""
        process = self.random.choice(self.stack.workers + self.stack.apis)
        process.stop()
        time.sleep(self.random.choice([0.2, 0.5, 3.0]))
        process.cont()

    def cut(self):
        """One connection, or all of them."""
        limit = self.random.choice(["1", "all"])
        self.stack.sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'millrace%%'"
                         f" order by random() limit {limit}")

    def restart_database(self):
        self.cluster.stop("immediate")
        time.sleep(self.random.uniform(0, 1.0))
        self.cluster.start()


# --- what must be true afterwards ---


def check(stack, traffic):
    assert not traffic.wrong, f"{len(traffic.wrong)} complaints, first: {traffic.wrong[0]}"
    check_outcomes(stack, traffic)
    check_calls(stack)
    check_money(stack)
    check_batches(stack, traffic)
    check_limits(stack)
    check_files(stack)


def none(stack, what, statement, *params):
    rows = stack.sql(statement, *params)
    assert rows == [], f"{what}: {len(rows)}, first {rows[:3]}"


def check_outcomes(stack, traffic):
    known = {row[0].replace("-", "") for row in stack.sql("select id::text from job union all select id::text from batch")}
    gone = traffic.accepted - known - {bare(batch) for batch in traffic.deleted}
    assert not gone, f"accepted and gone: {sorted(gone)[:3]}"
    # One outcome for each series: the first, and one for each retry.
    none(stack, "jobs without exactly one outcome per series",
         "select j.id, o.n, r.n from job j cross join lateral (select count(*) as n from outcome o where o.bucket = j.bucket and o.job_id = j.id) o"
         " cross join lateral (select count(*) as n from retry r where r.bucket = j.bucket and r.job_id = j.id) r where o.n <> r.n + 1")
    none(stack, "keys that made two jobs", "select key, count(*) from idempotency group by key having count(*) > 1")
    none(stack, "succeeded without a result (and not erased)",
         "select o.job_id from outcome o where o.status = 3 and not exists (select 1 from result r where r.bucket = o.bucket and r.job_id = o.job_id"
         " and r.token = o.token) and exists (select 1 from payload p where p.bucket = o.bucket and p.job_id = o.job_id)")


def check_calls(stack):
    """Each call is an attempt that was written, or one that an interruption cut off before; and attempts stay within max_attempts per series."""
    none(stack, "more attempts than max_attempts", "select o.job_id, o.attempts, j.max_attempts from outcome o"
         " join job j on j.bucket = o.bucket and j.id = o.job_id where o.attempts > j.max_attempts")
    made = Counter(call["tag"] for call in calls(stack))
    served = Counter(call["tag"] for call in calls(stack) if call["status"] == 200)
    rows = stack.sql(
        "select substring(p.body from 'tag:([^ ]+)'), j.id::text, a.n, a.ok, o.interruptions from job j"
        " join payload p on p.bucket = j.bucket and p.job_id = j.id"
        " cross join lateral (select count(*) filter (where number > 0) as n, count(*) filter (where code = 'ok') as ok from attempt a"
        "  where a.bucket = j.bucket and a.job_id = j.id) a"
        " cross join lateral (select sum(interruptions) as interruptions from outcome o where o.bucket = j.bucket and o.job_id = j.id) o")
    for tag, job, written, ok, interruptions in rows:
        assert made[tag] <= written + interruptions, (tag, job, made[tag], written, interruptions)
        assert ok <= served[tag], (tag, job, ok, served[tag])


def check_money(stack):
    """An attempt costs its tokens at its pinned prices, a job its attempts."""
    none(stack, "attempts that do not cost their tokens at their prices",
         "select job_id, token, number, cost_nanousd from attempt where number > 0 and abs(cost_nanousd - ((input_tokens - cached_input_tokens"
         " - cache_write_tokens) * price_input + cached_input_tokens * coalesce(price_cached_input, price_input) + output_tokens * price_output) / 1000000.0) > 1")
    none(stack, "jobs that do not cost their attempts",
         "select o.job_id, o.cost_nanousd, a.cost, o.input_tokens, a.input, o.output_tokens, a.output from outcome o cross join lateral ("
         "  select case when bool_and(a.cost_nanousd is not null) is not false then coalesce(sum(a.cost_nanousd), 0) end as cost,"
         "  coalesce(sum(a.input_tokens), 0) as input, coalesce(sum(a.output_tokens), 0) as output"
         "  from attempt a where a.bucket = o.bucket and a.job_id = o.job_id and a.token <= o.token) a"
         " where (o.cost_nanousd, o.input_tokens, o.output_tokens) is distinct from (a.cost, a.input, a.output)")
    none(stack, "batches that do not cost their jobs' attempts",
         "select b.id, b.cost_nanousd, a.cost, b.input_tokens, a.input, b.output_tokens, a.output from batch b cross join lateral ("
         "  select coalesce(sum(a.cost_nanousd), 0) as cost, coalesce(sum(a.input_tokens), 0) as input, coalesce(sum(a.output_tokens), 0) as output"
         "  from job j join attempt a on a.bucket = j.bucket and a.job_id = j.id where j.bucket = b.bucket and j.batch_id = b.id) a"
         " where (b.cost_nanousd, b.input_tokens, b.output_tokens) is distinct from (a.cost, a.input, a.output)")
    none(stack, "batches that do not know how many of their jobs cost they do not know what",
         "select b.id, b.cost_unknown, a.n from batch b cross join lateral (select count(distinct j.id) as n from job j join attempt a on a.bucket = j.bucket"
         " and a.job_id = j.id where j.bucket = b.bucket and j.batch_id = b.id and a.cost_nanousd is null) a where b.cost_unknown <> a.n")


def check_batches(stack, traffic):
    none(stack, "batches whose counts are not their jobs'",
         "select b.id, b.total, b.succeeded, b.failed, b.canceled, b.expired, j.* from batch b cross join lateral ("
         "  select count(*) filter (where o.status = 3) as s, count(*) filter (where o.status = 4) as f, count(*) filter (where o.status = 5) as c,"
         "  count(*) filter (where o.status = 6) as e from job j cross join lateral (select status from outcome o where o.bucket = j.bucket"
         "   and o.job_id = j.id order by token desc limit 1) o where j.bucket = b.bucket and j.batch_id = b.id) j"
         " where (b.succeeded, b.failed, b.expired, b.succeeded + b.failed + b.canceled + b.expired) is distinct from (j.s, j.f, j.e, b.total::bigint)"
         " or b.canceled < j.c")
    for batch, (path, n) in traffic.batches.items():
        got = stack.http().get(f"{path}/{batch}", headers=ANTHROPIC)
        if got.status == 404 and batch in traffic.deleted:
            continue
        assert got.status == 200, got
        if path == "/v1/messages/batches":
            names = custom_ids(stack, f"{path}/{batch}/results")
        elif "output_file_id" in got.json:
            if got.json["status"] == "failed":
                raise AssertionError(f"a batch of good lines failed: {got.json}")
            files = [got.json[f] for f in ("output_file_id", "error_file_id") if got.json[f]]
            names = [name for file in files for name in custom_ids(stack, f"/v1/files/{file}/content")]
            assert got.json["request_counts"]["total"] in (n, 0), (n, got.json)
        else:
            results = stack.http().get(f"{path}/{batch}/results", timeout=60)
            assert len(results.text.splitlines()) == n, (n, results)
            continue
        # Lines that a cancel kept from running are in neither file of OpenAI's batches.
        left_out = got.json["millrace"]["counts"]["canceled"] if "output_file_id" in got.json else 0
        assert len(names) == n - left_out and len(set(names)) == len(names), (path, batch, n, Counter(names).most_common(2), got.json)
        assert set(names) <= {f"line-{i}" for i in range(n)}, (path, batch, names)


def custom_ids(stack, path):
    answer = stack.http().get(path, headers=ANTHROPIC, timeout=60)
    assert answer.status == 200, answer
    return [json.loads(line)["custom_id"] for line in answer.text.splitlines()]


def check_limits(stack):
    """They held, and nothing of them is held any more: all permits are there again for the next ones."""
    windows = stack.simulator.http().get("/_control/windows?seconds=60&model=narrow").json
    assert windows["in_flight"] <= 4 and windows["requests"] <= 1200, windows
    held = ("select h.key, h.held, w.state from limit_hold h join worker w on w.id = h.worker_id where h.held > 0"
            " and (w.state in (0, 1) or (w.state = 3 and w.beat_at > now() - interval '12 seconds'))")
    wait_until(lambda: not stack.sql(held), 20, "the return of all permits")
    none(stack, "flights that nobody is on", "select * from cache_flight")
    stack.simulator.http().post("/_control/stats/reset")
    script(stack, model="narrow", latency_ms=400)
    lines = [json.dumps(stack.body(f"tag:after-{i} hello", route="narrow")) for i in range(24)]
    batch = stack.http().post("/v1/batches", "\n".join(lines).encode(), headers=NDJSON).json["id"]
    wait_until(lambda: stack.http().get(f"/v1/batches/{batch}").json["status"] == "completed", 30, "the end of one more batch")
    assert stack.simulator.http().get("/_control/windows?seconds=60&model=narrow").json["in_flight"] == 4, "the whole limit is not back"


def check_files(stack):
    """Once the sweep may take it, nothing is left of what belongs to no file."""
    def swept():
        # The time that the sweep waits for: first an hour for what died, then a minute for what was dropped.
        stack.sql("update blob set written_at = now() - interval '2 hours' where state <> 1 and written_at > now() - interval '1 hour'")
        return stack.sql("select count(*) from blob where state <> 1") == [(0,)]

    wait_until(swept, 20, "the sweep of dropped blobs", step=0.2)
    none(stack, "pieces of no blob", "select blob_id from blob_chunk c where not exists (select 1 from blob b where b.bucket = c.bucket and b.id = c.blob_id)")
    none(stack, "blobs of no file", "select b.id from blob b where not exists (select 1 from file f where f.bucket = b.bucket and b.id = any (f.blobs))"
         " and not exists (select 1 from upload_part p where p.bucket = b.bucket and p.blob_id = b.id)")
    wait_until(lambda: stack.sql("select count(*) from chunk")[0][0] == 0, 20, "the deletion of old pieces of text")
