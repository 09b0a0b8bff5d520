# SPDX-License-Identifier: Apache-2.0
"""What the parts of the measurement share: the program as `millrace up` runs it, the tools in C, and the report."""
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

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
    lock, stamp = os.path.join(HERE, "package-lock.json"), os.path.join(HERE, "node_modules/.installed")
    if not os.path.exists(stamp) or open(stamp).read() != open(lock).read():
        run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=HERE)
        shutil.copy(lock, stamp)


def rss_kb(pid):
    for line in open("/proc/%d/status" % pid):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def cpu_s(pid):
    fields = open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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
            f.write("# Speed and size\n\nWritten by `make bench` (tests/bench/run.py says what each part does). Medians of %d rounds (of twice as many where\n"
                    "work with limits stands beside work without); fsync, full_page_writes and synchronous_commit on; the release build;\n"
                    "client, server and database share the machine: %d × %s, PostgreSQL %s.\n"
                    "The machine is noisy: trust the ratios, which are taken within one run, more than the rates.\n\n" % (
                        ROUNDS, os.cpu_count(), cpu, run([PG_BIN + "/postgres", "--version"]).split()[2]))
            f.write("| part | what | measured | baseline in the same run | ratio | wanted | met |\n| --- | --- | --- | --- | --- | --- | --- |\n")
            for r in self.rows:
                f.write("| " + " | ".join(r) + " |\n")
