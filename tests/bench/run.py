#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures speed and size, and writes the report to tests/bench/README.md.

    make bench            all of it (about 15 minutes)
    make bench BENCH=accept,trickle

Every figure stands beside a baseline measured in the same run on the same machine and cluster, and every ratio is the median of three
rounds, in which the two sides take turns. The parts: accept, life, trickle, flight, claim, idle, limits, answers, events, chat, stream, ingest, batch. The program is the release build; the
database runs with fsync, full_page_writes and synchronous_commit on.
"""
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time

from bench import HERE, PG_BIN, ROUNDS, STREAM_FIRST_MS, Report, Stack, cpu_s, free_port, median, node_packages, rss_kb, run, tool
from faces import batch, chat, ingest, stream
from streams import Streams


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
        for i in range(2 * ROUNDS):  # a ratio near one: noise would hide what is wanted
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
