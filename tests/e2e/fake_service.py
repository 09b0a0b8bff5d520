# SPDX-License-Identifier: Apache-2.0
"""A service that answers as the HTTP contract says, in memory, with failures on demand: for testing the client commands alone."""
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def stamp(at):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + ".%03dZ" % int(at % 1 * 1000)


class FakeService:
    """jobs run for `seconds`; `failures` is what the next requests get: (status, code, detail[, param[, headers]]), status 0 for
    a connection that is cut; `seen` is what came; `hold` bounds wait=N."""

    def __init__(self, seconds=0.0):
        self.seconds, self.failures, self.seen, self.hold = seconds, [], [], 300
        self.jobs, self.batches, self.keys, self.lock = {}, {}, {}, threading.Lock()
        handler = type("Handler", (Handler,), {"service": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def add_job(self, spec, batch=None):
        job = {"id": "job_%032x" % (len(self.jobs) + 1), "spec": spec, "at": time.time(), "batch": batch}
        self.jobs[job["id"]] = job
        return job

    def view(self, job):
        ended = time.time() - job["at"] >= self.seconds
        text = json.dumps(job["spec"]["request"]["messages"][-1]["content"])
        bad = "FAIL" in text
        status = job.get("status") or (("failed" if bad else "succeeded") if ended else "running")
        done = status == "succeeded"
        return {
            "id": job["id"], "object": "job", "status": status, "route": job["spec"].get("route"), "batch_id": job["batch"],
            "metadata": job["spec"].get("metadata", {}), "created_at": stamp(job["at"]), "started_at": stamp(job["at"]),
            "finished_at": stamp(job["at"] + self.seconds) if ended else None, "attempts": 1,
            "served_by": {"level": "primary", "target": "fake/model", "cached": False, "shared": False},
            "result": {"choices": [{"message": {"role": "assistant", "content": "echo: " + text}}]} if done else None,
            "error": {"code": "transient", "message": "it broke", "type": "t", "retryable": True} if status == "failed" else None,
            "usage": {"input_tokens": 12, "cached_input_tokens": 0, "output_tokens": 3}, "cost": {"usd": "0.000342"},
        }

    def batch_view(self, batch):
        views = [self.view(self.jobs[i]) for i in batch["jobs"]]
        counts = {s: sum(v["status"] == s for v in views) for s in ("queued", "running", "succeeded", "failed", "canceled", "expired")}
        running = counts["running"] + counts["queued"] > 0
        return {"id": batch["id"], "object": "batch", "status": "running" if running else "completed", "total": len(views),
                "counts": counts, "created_at": stamp(batch["at"]), "finished_at": None if running else stamp(time.time()),
                "progress": {"percent": 0, "rate_per_s": None, "estimated_finish_at": None}, "errors": batch["errors"]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service = None

    def log_message(self, *args):
        pass

    def answer(self, status, body, kind="application/json", headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("x-request-id", "req-1")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def problem(self, status, code, detail, param=None, headers=()):
        body = {"type": "about:blank", "title": "The title", "status": status, "detail": detail, "code": code, "request_id": "req-1"}
        if param:
            body["param"] = param
        self.answer(status, body, "application/problem+json", headers)

    def handle_any(self):
        s = self.service
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        with s.lock:
            s.seen.append((self.command, self.path, dict(self.headers), body))
            failure = s.failures.pop(0) if s.failures else None
        if failure and failure[0] == 0:
            self.close_connection = True  # as a process that ends
            return None
        if failure:
            return self.problem(failure[0], failure[1], failure[2], failure[3] if len(failure) > 3 else None,
                                failure[4] if len(failure) > 4 else ())
        if self.headers.get("Authorization") != "Bearer mr_good":
            return self.problem(401, "unauthenticated", "the key is not known")
        parts = path.strip("/").split("/")[1:]
        if parts == ["jobs"] and self.command == "POST":
            return self.submit(body)
        if parts == ["jobs"]:
            return self.list(query)
        store = s.jobs if parts[0] == "jobs" else s.batches
        if len(parts) < 2 or parts[1] not in store:
            return self.problem(404, "not_found", "there is no " + path)
        return self.one(store[parts[1]], parts[2] if len(parts) > 2 else "", parts[0] == "jobs", query)

    def list(self, query):
        views = [self.service.view(j) for j in reversed(list(self.service.jobs.values()))]
        q = dict(p.split("=") for p in query.split("&"))
        start = next((i + 1 for i, v in enumerate(views) if v["id"] == q.get("after")), 0)
        page = views[start:start + int(q["limit"])]
        self.answer(200, {"data": page, "has_more": start + len(page) < len(views), "last_id": page[-1]["id"] if page else None})

    def submit(self, body):
        s, key = self.service, self.headers["Idempotency-Key"]
        with s.lock:
            if key not in s.keys and "ndjson" in self.headers["Content-Type"]:
                batch = {"id": "batch_%032x" % (len(s.batches) + 1), "jobs": [], "at": time.time(), "errors": []}
                for n, line in enumerate(body.splitlines(), 1):
                    try:
                        batch["jobs"].append(s.add_job(json.loads(line), batch["id"])["id"])
                    except ValueError:
                        batch["errors"].append({"line": n, "code": "invalid_json", "message": "not JSON", "param": None})
                if not batch["jobs"]:
                    return self.answer(400, {"title": "The request is not valid", "status": 400, "detail": "no line is a valid job",
                                             "code": "invalid_request", "error_count": len(batch["errors"]), "errors": batch["errors"]},
                                       "application/problem+json")
                s.batches[batch["id"]] = s.keys[key] = batch
            elif key not in s.keys:
                s.keys[key] = s.add_job(json.loads(body))
            made = s.keys[key]
        self.answer(202, s.batch_view(made) if "jobs" in made else s.view(made))

    def one(self, thing, verb, is_job, query):
        s = self.service
        if verb in ("cancel", "retry"):
            for job in [thing] if is_job else [s.jobs[i] for i in thing["jobs"]]:
                job["status"] = "canceled" if verb == "cancel" else None
        if verb == "attempts":
            view = s.view(thing)
            bad = view["status"] == "failed"
            return self.answer(200, json.dumps({"data": [
                {"number": 1, "target": "fake/model", "http_status": 503 if bad else 200, "code": "transient" if bad else "ok",
                 "next": "failed" if bad else "served", "first_token_ms": None, "total_ms": 850, "cost": {"usd": "0.000342"}}]}).encode())
        if verb == "results":
            lines = [dict(s.view(s.jobs[i]), index=n) for n, i in enumerate(thing["jobs"])]
            return self.answer(200, "".join(json.dumps(v) + "\n" for v in lines).encode(), "application/x-ndjson")
        if "wait=" in query:
            end = time.time() + min(float(query.split("wait=")[1]), s.hold)
            while time.time() < end and s.view(thing)["status"] == "running":
                time.sleep(0.01)
        self.answer(200, s.view(thing) if is_job else s.batch_view(thing))

    do_GET = do_POST = handle_any


if __name__ == "__main__":
    import sys
    service = FakeService(float(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(service.url, flush=True)
    threading.Event().wait()
