#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures speed and size, and writes the report to tests/bench/README.md.

    make bench            all of it (about 30 minutes)
    make bench BENCH=accept,trickle

Every figure stands beside a baseline measured in the same run on the same machine and cluster, and every ratio is the median of three
rounds, in which the two sides take turns. The parts: accept, life, trickle, flight, claim, idle, limits, answers, events, chat, stream, ingest, batch. The program is the release build; the
database runs with fsync, full_page_writes and synchronous_commit on.
"""
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import http.client

from streams import Chats, Streams

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BIN = os.environ.get("MILLRACE_BIN", os.path.join(ROOT, "build/release/millrace"))
TOOLS = os.path.join(os.path.dirname(BIN), "bench")
ROUNDS = int(os.environ.get("ROUNDS", "3"))
PG_BIN = "/usr/lib/postgresql/15/bin"
MODELS = ("fixed", "slow", "none", "spoken", "near")
NEAR_MS = 50
STREAM_FIRST_MS, STREAM_BETWEEN_MS, STREAM_PIECES = 1000, 100, 31  # a stream of 4 s


def run(args, **kw):
    done = subprocess.run(args, capture_output=True, text=True, **kw)
    if done.returncode != 0:
        raise SystemExit("%s failed: %s%s" % (args[0], done.stdout[-2000:], done.stderr[-2000:]))
    return done.stdout


def tool(name, *args):
    return json.loads(run([os.path.join(TOOLS, name), *[str(a) for a in args]]).strip().splitlines()[-1])


def median(values):
    return statistics.median(values)


class Stack:
    """`millrace up` with one api, one worker and the simulator, in a directory of its own."""

    def __init__(self, slots=512, extra=None):
        self.dir = tempfile.mkdtemp(prefix="millrace-bench-")
        os.chmod(self.dir, 0o755)
        self.config = os.path.join(self.dir, "config.json")
        config = {
            "worker": {"slots": slots, "claim": 200},
            "log": {"level": "warn"},
            "targets": {
                name: {
                    "provider": "openai", "model": name, "base_url": "${MILLRACE_SIMULATOR_URL}/v1",
                    "price": {"input": "0.15", "cached_input": "0.075", "output": "0.60"},
                } for name in MODELS
            },
            "routes": {name: {"targets": [name]} for name in MODELS},
        }
        for key, value in (extra or {}).items():
            config.setdefault(key, {}).update(value)
        with open(self.config, "w") as f:
            json.dump(config, f)
        self.ready_file = os.path.join(self.dir, "ready.json")
        self.log = open(os.path.join(self.dir, "log"), "w")
        self.process = subprocess.Popen(
            [BIN, "up", "--dir", os.path.join(self.dir, "data"), "--config", self.config, "--listen", "127.0.0.1:18089", "--simulator",
             "--ready-file", self.ready_file], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        limit = time.time() + 120
        while not os.path.exists(self.ready_file):
            if time.time() > limit or self.process.poll() is not None:
                raise SystemExit("millrace up did not come up: " + open(self.log.name).read()[-3000:])
            time.sleep(0.05)
        self.ready = json.load(open(self.ready_file))
        self.host, self.port = self.ready["url"].split("//")[1].split(":")
        self.port = int(self.port)
        # Rate limits in the answers' headers are obeyed: the simulator's own are out of the way.
        free = {"chunk_bytes": 0, "limit_requests": 1000000000, "limit_tokens": 1000000000}
        text = "The licence lets you use, study, share and improve the work."
        self.control({"models": {
            "fixed": {"answer": text, **free},
            "none": {"answer": "ok", **free},
            "near": {"answer": "ok", **free, "latency_ms": NEAR_MS},
            "slow": {"answer": text, "first_token_ms": 5000, **free},
            "spoken": {"answer": text * STREAM_PIECES, **free, "chunk_bytes": len(text), "first_token_ms": STREAM_FIRST_MS, "between_ms": STREAM_BETWEEN_MS},
        }})

    def stop(self):
        for pid in self.ready["pids"]["worker"]:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def http(self, method, path, body=None, headers=None, base=None):
        host = base or "%s:%d" % (self.host, self.port)
        c = http.client.HTTPConnection(host, timeout=120)
        h = {"Authorization": "Bearer " + self.ready["api_key"], "Content-Type": "application/json"}
        h.update(headers or {})
        c.request(method, path, body, h)
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, data

    def control(self, script):
        status, data = self.http("POST", "/_control", json.dumps(script), base=self.ready["simulator_url"].split("//")[1].split("/")[0])
        if status != 200:
            raise SystemExit("simulator refuses its script: %s" % data)

    def stats(self):
        return json.loads(self.http("GET", "/_control/stats", base=self.ready["simulator_url"].split("//")[1].split("/")[0])[1])

    def psql(self, sql, db=None):
        url = self.ready["database_url"]
        return run(["psql", db or url, "-Atqc", sql]).strip()

    def other_database(self, name):
        """A database of its own in the same cluster, migrated: nothing but the measurement touches it."""
        self.psql("drop database if exists %s" % name)
        self.psql("create database %s" % name)
        base = self.ready["database_url"]
        if "://" in base:
            head, _, tail = base.partition("?")
            url = head.rsplit("/", 1)[0] + "/" + name + ("?" + tail if tail else "")
        else:
            url = base + " dbname=" + name
        run([BIN, "migrate", "--database-url", url])
        self.psql("insert into tenant (name, webhook_secret) values ('bench', 'whsec_none')", url)
        return url

    def batch(self, jobs, route, body_bytes=2048):
        text = "Each contributor grants a licence to the work. " * (body_bytes // 47)
        lines = "\n".join(json.dumps({"route": route, "request": {"messages": [{"role": "user", "content": "%d %s" % (i, text)}], "max_tokens": 64}})
                          for i in range(jobs))
        start = time.monotonic()
        status, data = self.http("POST", "/v1/jobs", lines, {"Content-Type": "application/x-ndjson"})
        if status != 202:
            raise SystemExit("batch: %d %s" % (status, data[:500]))
        return json.loads(data)["id"], start

    def wait_batch(self, batch, limit=600):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            b = json.loads(self.http("GET", "/v1/batches/" + batch)[1])
            if b["status"] != "running":
                return b
            time.sleep(0.02)
        raise SystemExit("the batch did not end: %s" % b)


def node_packages():
    want = json.load(open(os.path.join(HERE, "package.json")))["dependencies"]
    if not all(os.path.isdir(os.path.join(HERE, "node_modules", name)) for name in want):
        run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=HERE)


def rss_kb(pid):
    for line in open("/proc/%d/status" % pid):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def cpu_s(pid):
    fields = open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


PGBENCH = """insert into single (id, body) values (gen_random_uuid(), :body);
"""


def accept(report):
    """Durable POST /v1/jobs of 2 KB, a key each, 64 connections; against a single-row INSERT and COMMIT at 64 pgbench clients."""
    stack = Stack(extra={"worker": {"slots": 1}})
    try:
        worker = stack.ready["pids"]["worker"][0]
        os.kill(worker, signal.SIGSTOP)  # the worker claims nothing meanwhile
        url = stack.other_database("single")
        stack.psql("create table single (id uuid primary key, body text)", url)
        script = os.path.join(stack.dir, "single.sql")
        open(script, "w").write(PGBENCH)
        ours, base = [], []
        for _ in range(ROUNDS):
            out = run([PG_BIN + "/pgbench", "-n", "-M", "prepared", "-c", "64", "-j", "2", "-T", "10", "-D", "body=" + "Each contributor grants a licence to it. " * 50, "-f", script, url])
            base.append(float([x for x in out.splitlines() if x.startswith("tps")][0].split()[2]))
            r = tool("load", stack.host, stack.port, stack.ready["api_key"], 64, 10, 2048, "fixed")
            if r["errors"]:
                raise SystemExit("accept: %d errors" % r["errors"])
            ours.append(r)
        rates = [r["per_s"] for r in ours]
        ratios = [a / b for a, b in zip(rates, base)]
        report.add("1. Accept", "durable `POST /v1/jobs` of 2 KB, 64 connections", "%.0f jobs/s (p50 %.1f ms, p99 %.1f ms)" % (
            median(rates), median([r["p50_ms"] for r in ours]), median([r["p99_ms"] for r in ours])),
            "pgbench, one row per INSERT and COMMIT, 64 clients: %.0f/s" % median(base), median(ratios), 1.5)
    finally:
        stack.stop()


GRAPHILE = os.path.join(HERE, "graphile.mjs")


def life(report):
    """NDJSON in → claimed → called over HTTP → outcome visible, 20,000 jobs of 2 KB; against SQL alone and against graphile-worker."""
    node_packages()
    stack = Stack()
    try:
        floor_url = stack.other_database("floor")
        graphile_url = stack.other_database("graphile")
        simulator = stack.ready["simulator_url"]
        ours, floor, graphile = [], [], []
        b, _ = stack.batch(2000, "fixed")
        stack.wait_batch(b)
        for _ in range(ROUNDS):
            floor.append(tool("floor", floor_url, "life", 20000, 2048)["per_s"])
            b, start = stack.batch(20000, "fixed")
            done = stack.wait_batch(b)
            ours.append(20000 / (time.monotonic() - start))
            if done["counts"]["succeeded"] != 20000:
                raise SystemExit("life: not all succeeded: %s" % done["counts"])
            out = run(["node", GRAPHILE, graphile_url, simulator, "4000"], cwd=HERE)
            graphile.append(json.loads(out.strip().splitlines()[-1])["per_s"])
        report.add("2. Whole life", "20,000 jobs of 2 KB as NDJSON, to the last outcome", "%.0f jobs/s" % median(ours),
                   "the same accept, claim and complete statements without HTTP: %.0f/s" % median(floor),
                   median([a / b for a, b in zip(ours, floor)]), 0.35)
        report.add("2. Whole life", "the same", "%.0f jobs/s" % median(ours),
                   "graphile-worker, each job one `fetch` to the same simulator: %.0f/s" % median(graphile),
                   median([a / b for a, b in zip(ours, graphile)]), 3.0)
    finally:
        stack.stop()


def trickle(report):
    """Submit to visible result on an idle system (`Prefer: wait`), beyond the provider's own time (a plain call to the simulator)."""
    stack = Stack()
    try:
        rounds = []
        for _ in range(ROUNDS):
            took, provider = [], []
            c = http.client.HTTPConnection(stack.host, stack.port, timeout=60)
            s = http.client.HTTPConnection(stack.ready["simulator_url"].split("//")[1].split("/")[0], timeout=60)
            body = json.dumps({"route": "none", "request": {"messages": [{"role": "user", "content": "hello " * 300}]}})
            direct = json.dumps({"model": "none", "stream": True, "messages": [{"role": "user", "content": "hello " * 300}]})
            for i in range(320):
                t = time.monotonic()
                c.request("POST", "/v1/jobs", body, {"Authorization": "Bearer " + stack.ready["api_key"], "Content-Type": "application/json", "Prefer": "wait=30"})
                r = c.getresponse()
                j = json.loads(r.read())
                if i >= 20:
                    took.append((time.monotonic() - t) * 1000)
                if j["status"] != "succeeded":
                    raise SystemExit("trickle: %s" % j)
                t = time.monotonic()
                s.request("POST", "/v1/chat/completions", direct, {"Content-Type": "application/json"})
                s.getresponse().read()
                if i >= 20:
                    provider.append((time.monotonic() - t) * 1000)
                time.sleep(0.01)
            own = median(provider)
            took.sort()
            rounds.append((took[len(took) // 2] - own, took[int(len(took) * 0.99)] - own))
        p50, p99 = median([r[0] for r in rounds]), median([r[1] for r in rounds])
        report.add_limit("3. Trickle", "submit to visible result, idle, p50", p50, "ms", 12)
        report.add_limit("3. Trickle", "submit to visible result, idle, p99", p99, "ms", 40)
    finally:
        stack.stop()


def flight(report):
    """One worker holds 10,000 calls of 5 s each: 40,000 jobs."""
    stack = Stack(slots=10000, extra={"timeout": {"first_token": "30s"}})
    try:
        worker = stack.ready["pids"]["worker"][0]
        rates, sizes, failed, peaks = [], [], [], []
        for _ in range(ROUNDS):
            batches = [stack.batch(20000, "slow") for _ in range(2)]
            start, peak_rss = None, 0
            done_at = None
            ready = time.monotonic()
            while done_at is None:
                status = [json.loads(stack.http("GET", "/v1/batches/" + b)[1]) for b, _ in batches]
                finished = sum(s["counts"]["succeeded"] + s["counts"]["failed"] for s in status)
                now = time.monotonic()
                peak_rss = max(peak_rss, rss_kb(worker))
                # The steady part: from the first 10,000 to the first 30,000 outcomes.
                if start is None and finished >= 10000:
                    start = (now, finished)
                if start and finished >= 30000:
                    done_at = (now, finished)
                if now - ready > 300:
                    raise SystemExit("flight: too slow: %d" % finished)
                time.sleep(0.1)
            rates.append((done_at[1] - start[1]) / (done_at[0] - start[0]))
            sizes.append(peak_rss / 1024)
            ended = [stack.wait_batch(b) for b, _ in batches]
            failed.append(sum(e["counts"]["failed"] for e in ended))
            peaks.append(stack.stats()["peak_in_flight"])
        report.add("4. In flight", "10,000 calls of 5 s in one worker (peak at the simulator: %d; failed: %d)" % (max(peaks), sum(failed)),
                   "%.0f jobs/s" % median(rates), "2,000/s: slots ÷ time of a call", median(rates) / 2000, 0.95)
        report.add_limit("4. In flight", "RSS of the worker at its peak", median(sizes), "MB", 250)
    finally:
        stack.stop()


def claim(report):
    """The claim statement with the worker's own floors, 2,000,000 jobs waiting against 2,000; then with an old transaction open."""
    stack = Stack()
    try:
        os.kill(stack.ready["pids"]["worker"][0], signal.SIGSTOP)
        small_rates, big_rates, held_rates = [], [], []
        for _ in range(ROUNDS):
            small = stack.other_database("small")
            # 2,000 jobs are gone in a blink: the queue is filled again and again, and only the claims are timed.
            seconds, jobs = 0.0, 0
            for _ in range(20):
                tool("floor", small, "fill", 2000, 200)
                r = tool("floor", small, "drain", 2000)
                seconds, jobs = seconds + r["seconds"], jobs + r["jobs"]
            small_rates.append(jobs / seconds)
        big = stack.other_database("big")
        tool("floor", big, "fill", 2000000, 200)
        # What follows the filling of any table (autovacuum, the checkpoint) is not part of the claim.
        stack.psql("vacuum analyze", big)
        stack.psql("checkpoint", big)
        for _ in range(ROUNDS):
            big_rates.append(tool("floor", big, "claim", 8)["per_s"])
        for _ in range(ROUNDS):
            holder = subprocess.Popen(["psql", big, "-qAtX"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
            holder.stdin.write("begin isolation level repeatable read; select count(*) from lane; select txid_current();\n")
            holder.stdin.flush()
            time.sleep(0.5)
            held_rates.append(tool("floor", big, "claim", 8)["per_s"])
            holder.stdin.close()
            holder.wait()
        report.add("5. Claim", "claims of 100 with up to 2,000,000 waiting", "%.0f jobs/s" % median(big_rates), "the same with 2,000 waiting: %.0f/s" % median(small_rates),
                   median(big_rates) / median(small_rates), 0.9)
        report.add("5. Claim", "the same while a REPEATABLE READ transaction is open", "%.0f jobs/s" % median(held_rates),
                   "without it: %.0f/s" % median(big_rates), median(held_rates) / median(big_rates), 0.8)
    finally:
        stack.stop()


def idle(report):
    """api and worker with nothing to do, 20 s."""
    stack = Stack()
    try:
        b, _ = stack.batch(100, "fixed")
        stack.wait_batch(b)
        time.sleep(3)
        pids = stack.ready["pids"]["api"] + stack.ready["pids"]["worker"]
        before = sum(cpu_s(p) for p in pids)
        time.sleep(20)
        share = (sum(cpu_s(p) for p in pids) - before) / 20 * 100
        report.add_limit("6. Idle", "RSS of api and worker together", sum(rss_kb(p) for p in pids) / 1024, "MB", 30)
        report.add_limit("6. Idle", "CPU of api and worker together", share, "% of a core", 1)
    finally:
        stack.stop()


# More than this machine ever does, so that nothing waits for them.
LIMITS = {"requests": 60000000, "tokens": 60000000000, "concurrency": 100000, "headroom": 1}
LIMIT_STATEMENTS = ("limit_take", "limit_prune", "target_read", "target_report", "target_register", "target_probe")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def queries(stack, metrics_at):
    """Statements that the worker sent, by name."""
    counts = {}
    for line in stack.http("GET", "/metrics", base=metrics_at)[1].decode().splitlines():
        found = re.match(r'millrace_db_queries_total\{statement="(\w+)",[^}]*\} (\d+)', line)
        if found:
            counts[found[1]] = counts.get(found[1], 0) + int(found[2])
    return counts


def limits(report):
    """Three limits on every call, and the breaker: processor time and statements of each call, and the whole life of jobs beside that without limits."""
    metrics_at = "127.0.0.1:%d" % free_port()
    limited = {"provider": "openai", "model": "fixed", "base_url": "${MILLRACE_SIMULATOR_URL}/v1", "limits": LIMITS,
               "price": {"input": "0.15", "cached_input": "0.075", "output": "0.60"}}
    stack = Stack(extra={"worker": {"slots": 512, "claim": 200, "listen": metrics_at}, "targets": {"limited": limited}, "routes": {"limited": {"targets": ["limited"]}}})
    try:
        url = stack.other_database("limits")
        config = os.path.join(stack.dir, "limits.json")
        with open(config, "w") as f:
            json.dump({"targets": {"limited": {**limited, "base_url": stack.ready["simulator_url"] + "/v1"}}}, f)
        costs = [tool("limits", url, config, 5, 2000) for _ in range(ROUNDS)]
        report.add_limit("7. Limits", "three limits and the breaker: worker CPU per call at 2,000 calls/s (in the call itself: %.2f µs)" % median([c["own_us"] for c in costs]),
                         median([c["us"] for c in costs]), "µs", 5)
        jobs, free, bound, statements = 20000, [], [], []
        for route in ("fixed", "limited"):
            stack.wait_batch(stack.batch(2000, route)[0])
        for i in range(ROUNDS):
            # Who goes first finds the smaller tables: they take turns in that, too.
            for route, rates in ((("fixed", free), ("limited", bound)), (("limited", bound), ("fixed", free)))[i % 2]:
                before = queries(stack, metrics_at)
                b, start = stack.batch(jobs, route)
                done = stack.wait_batch(b)
                rates.append(jobs / (time.monotonic() - start))
                if done["counts"]["succeeded"] != jobs:
                    raise SystemExit("limits: not all succeeded: %s" % done["counts"])
                after = queries(stack, metrics_at)
                if route == "limited":
                    statements.append(sum(after.get(s, 0) - before.get(s, 0) for s in LIMIT_STATEMENTS) / jobs)
        report.add_limit("7. Limits", "statements for limits and breaker per call, whole life of 20,000 jobs", median(statements), "", 0.02, digits=4)
        report.add("7. Limits", "20,000 jobs of 2 KB, requests, tokens and concurrency limited", "%.0f jobs/s" % median(bound), "the same without limits: %.0f/s" % median(free),
                   median([a / b for a, b in zip(bound, free)]), 0.9)
    finally:
        stack.stop()


def answers(report):
    """Streamed answers of 64 KB in short pieces, read by each adapter: MB per second of processor time."""
    rounds = [tool("answers", 1000) for _ in range(ROUNDS)]
    for adapter in rounds[0]:
        report.add_least("8. Answers", "%s: a stream of 64 KB in short pieces" % adapter, median([r[adapter]["mb_per_s"] for r in rounds]), "MB/s", 300)


def events(report):
    """
    First text through GET /v1/jobs/{id}/events, after the provider's. 50 jobs a second with streams of 4 s, so that 200 are open; those count that began
    when 200 were. The provider's first token: when the simulator had the request whole, as it records it, and the time to the first token that
    its script says; what its timers are late counts against us.
    """
    count, per_s = 400 + 200, 50
    delays, most = [], []
    stack = Stack()
    try:
        for n in range(ROUNDS):
            streams = Streams(stack.host, stack.port, stack.ready["api_key"])
            most.append(streams.run(count, per_s, lambda i: json.dumps({"route": "spoken", "request": {"messages": [
                {"role": "user", "content": "tag:%d-%d speak" % (n, i)}]}}).encode()))
            calls = json.loads(stack.http("GET", "/_control/calls?limit=100000", base=stack.ready["simulator_url"].split("//")[1])[1])["calls"]
            at = {c["tag"]: c["at_ms"] for c in calls}
            late = sorted(f.first_text_s * 1000 - at["%d-%d" % (n, i)] - STREAM_FIRST_MS for i, f in enumerate(streams.all) if 200 <= i < 550)
            delays.append((late[len(late) // 2], late[int(len(late) * 0.99)]))
        report.add_limit("9. Events", "first text through `events` after the provider's, p50 (p99 %.1f ms; %d streams open)" % (median([d[1] for d in delays]), max(most)),
                         median([d[0] for d in delays]), "ms", 15)
    finally:
        stack.stop()


class Other:
    """A gateway that is measured beside Millrace: one process (and its children) of our own, ended by its id."""

    def __init__(self, argv, port, directory):
        self.port = port
        self.log = open(os.path.join(directory, "other-%d.log" % port), "w")
        self.process = subprocess.Popen(argv, cwd=directory, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        limit = time.time() + 30
        while True:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if time.time() > limit or self.process.poll() is not None:
                raise SystemExit("%s did not come up: %s" % (argv[0], open(self.log.name).read()[-2000:]))
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


NGINX = """
worker_processes 1;
pid %(dir)s/nginx.pid;
error_log %(dir)s/nginx-error.log;
events { worker_connections 1024; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path %(dir)s/nginx-body;
	proxy_temp_path %(dir)s/nginx-proxy;
	fastcgi_temp_path %(dir)s/nginx-fastcgi;
	uwsgi_temp_path %(dir)s/nginx-uwsgi;
	scgi_temp_path %(dir)s/nginx-scgi;
	upstream provider { server %(simulator)s; keepalive 128; keepalive_requests 1000000000; }
	server {
		listen 127.0.0.1:%(port)d;
		location / { proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; }
	}
}
"""


def start_nginx(stack, simulator):
    port = free_port()
    config = os.path.join(stack.dir, "nginx.conf")
    with open(config, "w") as f:
        f.write(NGINX % {"dir": stack.dir, "simulator": simulator, "port": port})
    return Other(["nginx", "-p", stack.dir, "-e", os.path.join(stack.dir, "nginx-error.log"), "-c", config, "-g", "daemon off;"], port, stack.dir)


def start_portkey(stack):
    node_packages()
    port = free_port()
    return Other(["node", os.path.join(HERE, "node_modules/@portkey-ai/gateway/build/start-server.js"), "--port=%d" % port, "--headless"], port, stack.dir)


def chat(report):
    """Synchronous chats, each a durable job: the time that is added to the provider's, and how many a second, beside Portkey's gateway and nginx as a
    bare proxy, which keep nothing."""
    stack = Stack()
    others = []
    try:
        simulator = stack.ready["simulator_url"].split("//")[1].split("/")[0]
        others = [start_portkey(stack), start_nginx(stack, simulator)]
        to_portkey = ["x-portkey-provider: openai", "x-portkey-custom-host: http://%s/v1" % simulator]
        sides = {"provider": (int(simulator.split(":")[1]), []), "millrace": (stack.port, []), "portkey": (others[0].port, to_portkey), "nginx": (others[1].port, [])}

        def load(side, connections, seconds, model):
            port, headers = sides[side]
            r = tool("load", "127.0.0.1", port, stack.ready["api_key"], connections, seconds, 2048, model, "chat", *headers)
            if r["errors"]:
                raise SystemExit("chat: %s: %d errors of %d" % (side, r["errors"], r["requests"]))
            return r

        added, rates = {side: [] for side in sides}, {side: [] for side in sides}
        for side in sides:
            load(side, 8, 2, "none")
        for _ in range(ROUNDS):
            own = load("provider", 4, 5, "near")["p50_ms"]
            for side in sides:
                added[side].append(load(side, 4, 5, "near")["p50_ms"] - own)
            for side in sides:
                rates[side].append(load(side, 64, 6, "none"))
        report.add_limit("10. Chat", "`POST /v1/chat/completions`, committed to disk: added to the provider's %d ms, p50 (Portkey: %.1f ms, nginx: %.1f ms)" % (
            NEAR_MS, median(added["portkey"]), median(added["nginx"])), median(added["millrace"]), "ms", 12)
        per_s = {side: median([r["per_s"] for r in rates[side]]) for side in sides}
        report.add("10. Chat", "the same, 64 connections, an answer at once (nginx as a bare proxy: %.0f/s, the provider itself: %.0f/s)" % (per_s["nginx"], per_s["provider"]),
                   "%.0f requests/s (p50 %.1f ms, p99 %.1f ms)" % (per_s["millrace"], median([r["p50_ms"] for r in rates["millrace"]]), median([r["p99_ms"] for r in rates["millrace"]])),
                   "@portkey-ai/gateway, which keeps nothing: %.0f/s" % per_s["portkey"],
                   median([a["per_s"] / b["per_s"] for a, b in zip(rates["millrace"], rates["portkey"])]), 1.0)
    finally:
        for other in others:
            other.stop()
        stack.stop()


def stream(report):
    """First text of streamed chats, 64 at a time, after the provider's: when the simulator had the request whole, and the time to the first token that its
    script says."""
    count, per_s = 64 + 192, 16
    delays, most = [], []
    stack = Stack()
    try:
        for n in range(ROUNDS):
            chats = Chats(stack.host, stack.port, stack.ready["api_key"])
            most.append(chats.run(count, per_s, lambda i: json.dumps({"model": "spoken", "stream": True, "messages": [
                {"role": "user", "content": "tag:%d-%d speak" % (n, i)}]}).encode()))
            calls = json.loads(stack.http("GET", "/_control/calls?limit=100000", base=stack.ready["simulator_url"].split("//")[1])[1])["calls"]
            at = {c["tag"]: c["at_ms"] for c in calls}
            late = sorted(f.first_text_s * 1000 - at["%d-%d" % (n, i)] - STREAM_FIRST_MS for i, f in enumerate(chats.all) if 64 <= i < 240)
            delays.append((late[len(late) // 2], late[int(len(late) * 0.99)]))
        report.add_limit("11. Stream", "first text of a streamed chat after the provider's, p50 (p99 %.1f ms; %d streams open)" % (median([d[1] for d in delays]), max(most)),
                         median([d[0] for d in delays]), "ms", 15)
    finally:
        stack.stop()


def upload(stack, lines):
    """A file of batch lines of 2 KB; its id and size."""
    text = "Each contributor grants a licence to the work. " * 38
    body = "".join(json.dumps({"custom_id": "line-%d" % i, "method": "POST", "url": "/v1/chat/completions", "body": {
        "model": "fixed", "messages": [{"role": "user", "content": "%d %s" % (i, text)}], "max_tokens": 64}}) + "\n" for i in range(lines)).encode()
    form = b'--bench\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--bench\r\n' \
           b'Content-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n' + body + b"\r\n--bench--\r\n"
    status, data = stack.http("POST", "/v1/files", form, {"Content-Type": "multipart/form-data; boundary=bench"})
    if status != 200:
        raise SystemExit("ingest: %d %s" % (status, data[:500]))
    return json.loads(data)["id"], len(body)


def ingest(report):
    """A file of 20,000 lines of 2 KB: uploaded, validated, and made jobs, by one api process while the worker stands still; MB by its processor time."""
    lines = 20000
    stack = Stack()
    try:
        api = stack.ready["pids"]["api"][0]
        os.kill(stack.ready["pids"]["worker"][0], signal.SIGSTOP)
        validated, loaded = [], []
        for _ in range(ROUNDS):
            before = cpu_s(api)
            file, size = upload(stack, lines)
            order = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            dry = json.loads(stack.http("POST", "/v1/batches", json.dumps({**order, "millrace": {"dry_run": True}}))[1])["id"]
            wait_for(stack, dry, lambda b: b["status"] == "completed")
            checked = cpu_s(api)
            batch = json.loads(stack.http("POST", "/v1/batches", json.dumps(order))[1])["id"]
            wait_for(stack, batch, lambda b: b["millrace"]["loaded"] == lines)
            validated.append(size / 1e6 / (checked - before))
            loaded.append(size / 1e6 / (cpu_s(api) - checked))
            stack.http("POST", "/v1/batches/%s/cancel" % batch)
        report.add_least("12. Ingest", "JSONL of 2 KB lines: uploaded and validated, by processor time of the api", median(validated), "MB/s", 20)
        report.add_least("12. Ingest", "the same file: validated and made jobs", median(loaded), "MB/s", 20)
    finally:
        stack.stop()


def wait_for(stack, batch, is_so, limit=300):
    end = time.monotonic() + limit
    while True:
        b = json.loads(stack.http("GET", "/v1/batches/" + batch)[1])
        if is_so(b):
            return b
        if b["status"] == "failed" or time.monotonic() > end:
            raise SystemExit("the batch did not get there: %s" % b)
        time.sleep(0.1)


def batch(report):
    """50,000 lines through OpenAI's SDK: upload, validation, run, download, every custom_id exactly once; the most memory that the api took."""
    node_packages()
    lines = int(os.environ.get("LINES", "50000"))
    stack = Stack()
    try:
        out = json.loads(run(["node", os.path.join(HERE, "batch.mjs"), "http://%s:%d" % (stack.host, stack.port), stack.ready["api_key"], "none", str(lines)],
                             cwd=HERE).strip().splitlines()[-1])
        peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/%d/status" % stack.ready["pids"]["api"][0]).read())[1]) / 1024
        report.add_limit("13. Batch", "RSS of the api at its peak, a batch of %d lines by OpenAI's SDK (validated after %.1f s, completed after %.1f s, downloaded after %.1f s)" % (
            lines, out["validated_s"], out["completed_s"], out["downloaded_s"]), peak, "MB", 80)
    finally:
        stack.stop()


class Report:
    def __init__(self):
        self.rows = []

    def row(self, cells):
        self.rows.append(cells)
        print("  " + " | ".join(cells), flush=True)

    def add(self, part, what, value, against, ratio, wanted):
        self.row([part, what, value, against, "%.2f" % ratio, "≥ %.2f" % wanted, "yes" if ratio >= wanted else "**no**"])

    def add_limit(self, part, what, value, unit, limit, digits=1):
        self.row([part, what, ("%.*f %s" % (digits, value, unit)).strip(), "", "", ("≤ %g %s" % (limit, unit)).strip(), "yes" if value <= limit else "**no**"])

    def add_least(self, part, what, value, unit, least):
        self.row([part, what, "%.1f %s" % (value, unit), "", "", "≥ %g %s" % (least, unit), "yes" if value >= least else "**no**"])

    def write(self, path):
        cpu = [x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")][0]
        with open(path, "w") as f:
            f.write("# Speed and size\n\nWritten by `make bench` (tests/bench/run.py says what each part does). Medians of %d rounds; fsync, full_page_writes and\n"
                    "synchronous_commit on; the release build; client, server and database share the machine: %d × %s, PostgreSQL %s.\n"
                    "The machine is noisy: trust the ratios, which are taken within one run, more than the rates.\n\n" % (
                        ROUNDS, os.cpu_count(), cpu, run([PG_BIN + "/postgres", "--version"]).split()[2]))
            f.write("| part | what | measured | baseline in the same run | ratio | wanted | met |\n| --- | --- | --- | --- | --- | --- | --- |\n")
            for r in self.rows:
                f.write("| " + " | ".join(r) + " |\n")


PARTS = {"accept": accept, "life": life, "trickle": trickle, "flight": flight, "claim": claim, "idle": idle, "limits": limits, "answers": answers, "events": events,
         "chat": chat, "stream": stream, "ingest": ingest, "batch": batch}


def main():
    names = sys.argv[1].split(",") if len(sys.argv) > 1 else list(PARTS)
    report = Report()
    for name in names:
        if name not in PARTS:
            raise SystemExit("no such part: %s (there are %s)" % (name, ", ".join(PARTS)))
        print(name, flush=True)
        PARTS[name](report)
    if len(names) == len(PARTS):
        report.write(os.path.join(HERE, "README.md"))
        print("written: tests/bench/README.md")


main()
