# SPDX-License-Identifier: Apache-2.0
"""The parts about the faces of other APIs: synchronous chats beside other gateways, streams, files of batch lines."""
import json
import os
import re
import signal
import socket
import subprocess
import time

from bench import HERE, NEAR_MS, ROUNDS, STREAM_FIRST_MS, Stack, cpu_s, free_port, median, node_packages, run, tool
from streams import Chats


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
