# SPDX-License-Identifier: Apache-2.0
"""The program as users run it: real processes on a real database, and small helpers to talk to them.

    def test_a_killed_worker_loses_nothing(stack):
        job = stack.submit("hello")
        stack.workers[0].kill()
        stack.workers[0].start()
        assert stack.wait_for(job["id"])["status"] == "succeeded"

Fixtures (tests/conftest.py): `stack` is one api, one worker and a simulator on a database of its own; `make_stack(apis=2,
workers=3, config={…})` makes others; `db` is only the URL of a fresh migrated database; `make_pg()` is a cluster of its own,
for tests that stop PostgreSQL. All that a test starts is stopped after it, and must end well (see proc.Process.close).
"""

import copy
import http.client
import json
import time
from urllib.parse import urlsplit

import answers
from pg import PgHandle, create_key, sql
from proc import BIN, Process, free_port, is_alive, processes_of_run, wait_until

__all__ = ["Answer", "Api", "Http", "PgHandle", "Simulator", "Stack", "Worker", "create_key", "free_port", "is_alive",
           "processes_of_run", "sql", "wait_until"]

# Short times, so that recovery is seen soon; a test that is about a default overrides it.
QUICK = {
    "server": {"listen": "127.0.0.1:0", "grace": "5s"},
    "breaker": {"open": "100ms", "open_max": "500ms"},
    "queue": {"poll": "50ms", "lease": "3s", "heartbeat": "500ms", "rescue": "500ms"},
    "worker": {"grace": "5s"},
    "retry": {"base": "50ms", "max": "1s", "overload_base": "100ms", "overload_max": "1s"},
    "webhook": {"allow": "127.0.0.0/8", "schedule": "0,200ms,500ms,1s"},
    "log": {"level": "debug"},
}
TERMINAL = ("succeeded", "failed", "canceled", "expired")


def merged(base, over):
    """base with over laid on it, objects merged key by key; None removes a key."""
    result = copy.deepcopy(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # http.client.HTTPMessage: case-insensitive
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode()

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Http:
    """Calls to one base URL with one key; a connection of its own each time, so that it fits any thread. With `kept`, what is answered is
    checked against the OpenAPI description at the end of the run."""

    def __init__(self, url, key=None, timeout=30, kept=False):
        parts = urlsplit(url)
        self.host, self.port, self.key, self.timeout, self.kept = parts.hostname, parts.port, key, timeout, kept

    def open(self, method, path, body=None, headers=None, key=None, timeout=None):
        """Sends, and returns (connection, response) with the body unread: for streams."""
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        key = self.key if key is None else key
        if key:
            headers.setdefault("Authorization", f"Bearer {key}")
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout or self.timeout)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            if self.kept:
                answers.record(method, path, response.status, response.headers.get("Content-Type"), None)
            return connection, response
        except BaseException:
            connection.close()
            raise

    def request(self, method, path, body=None, headers=None, key=None, timeout=None):
        connection, response = self.open(method, path, body, headers, key, timeout)
        try:
            answer = Answer(response.status, response.headers, response.read())
            if self.kept:
                answers.record(method, path, answer.status, answer.headers.get("Content-Type"), answer.body)
            return answer
        finally:
            connection.close()

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self.request("POST", path, body, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)


class Daemon(Process):
    """A process with a configuration file of its own and a ready file."""

    command = None

    def __init__(self, workdir, number=0, config=None, env=None):
        name = f"{self.command}{number}"
        self.config = config or {}
        self.config_path = workdir / f"{name}.json"
        super().__init__(name, self.make_argv(workdir / f"{name}.ready"), workdir, env=env,
                         ready_file=workdir / f"{name}.ready")

    def make_argv(self, ready):
        return [BIN, self.command, "--config", self.config_path, "--ready-file", ready]

    def start(self, limit=30):
        self.config_path.write_text(json.dumps(self.config, indent=1))
        return super().start(limit)

    @property
    def url(self):
        return self.ready["url"]

    def reconfigure(self, over, limit=10):
        """Changes the file and sends SIGHUP; what the process makes of it is in its log."""
        self.config = merged(self.config, over)
        self.config_path.write_text(json.dumps(self.config, indent=1))
        self.signal(1)


class Api(Daemon):
    command = "api"

    def start(self, limit=30):
        listen = self.config["server"]["listen"]
        if listen.endswith(":0"):  # the same after a restart
            self.config["server"]["listen"] = listen.removesuffix("0") + str(free_port())
        return super().start(limit)


class Worker(Daemon):
    command = "worker"


class Simulator(Daemon):
    command = "simulator"

    def __init__(self, workdir, number=0, args=(), env=None):
        self.args = list(args)
        self.port = free_port()  # the same after a restart
        super().__init__(workdir, number, env=env)

    def make_argv(self, ready):
        return [BIN, "simulator", "--listen", f"127.0.0.1:{self.port}", "--ready-file", ready, *self.args]

    @property
    def base_url(self):
        """Of the OpenAI form."""
        return f"http://127.0.0.1:{self.port}/v1"

    def http(self):
        return Http(f"http://127.0.0.1:{self.port}")


class Stack:
    """apis × workers on one database, with a simulator as the provider."""

    def __init__(self, db, workdir, keys, run, apis=1, workers=1, simulator=True, simulator_args=(), config=None,
                 env=None):
        self.db, self.workdir, self.keys = db, workdir, keys
        self.env = {"MILLRACE_TEST_RUN": run, **(env or {})}
        self.simulator = Simulator(workdir, args=simulator_args, env=self.env) if simulator else None
        self.config = merged(self.default_config(), config or {})
        self.apis = [Api(workdir, i, copy.deepcopy(self.config), self.env) for i in range(apis)]
        self.workers = [Worker(workdir, i, copy.deepcopy(self.config), self.env) for i in range(workers)]

    def default_config(self):
        config = merged(QUICK, {"database": {"url": self.db}})
        if self.simulator:
            target = {"provider": "openai", "base_url": self.simulator.base_url, "api_key": "sk-simulator",
                      "price": {"input": "0.15", "cached_input": "0.075", "output": "0.60"}}
            config["targets"] = {"sim": {**target, "model": "sim-extract"}}
            config["routes"] = {"default": {"targets": ["sim"]}}
            config["models"] = {"*": target}
        return config

    def start(self):
        for process in self.processes():
            process.start()
        return self

    def processes(self):
        return ([self.simulator] if self.simulator else []) + self.apis + self.workers

    def close(self):
        """Workers and apis first; every one is closed even when another one complains, then the first complaint is raised."""
        complaints = []
        for process in reversed(self.processes()):
            try:
                process.close()
            except AssertionError as complaint:
                complaints.append(complaint)
        if complaints:
            raise complaints[0]

    # --- talking to it ---

    @property
    def url(self):
        return self.apis[0].url

    def http(self, api=0, key=None):
        return Http(self.apis[api].url, key or self.keys["api_key"], kept=True)

    def admin(self, api=0):
        return Http(self.apis[api].url, self.keys["admin_key"], kept=True)

    def body(self, request="hello", **fields):
        """A job's body: request may be a text for the user, or a whole chat request."""
        if isinstance(request, str):
            request = {"messages": [{"role": "user", "content": request}]}
        return {"route": "default", "request": request, **fields}

    def submit(self, request="hello", headers=None, api=0, **fields):
        answer = self.http(api).post("/v1/jobs", self.body(request, **fields), headers=headers)
        assert answer.status == 202, answer
        return answer.json

    def get(self, job_id, api=0):
        answer = self.http(api).get(f"/v1/jobs/{job_id}")
        assert answer.status == 200, answer
        return answer.json

    def wait_for(self, job_id, status="succeeded", limit=20, api=0):
        """Polls until the job has that status (or one of them); fails at once when it ended otherwise."""
        wanted = (status,) if isinstance(status, str) else tuple(status)

        def look():
            job = self.get(job_id, api)
            if job["status"] in wanted:
                return job
            assert job["status"] not in TERMINAL, f"{job_id} ended {job['status']}: {job['error']}"
            return None

        return wait_until(look, limit, f"{job_id} being {' or '.join(wanted)}")

    def wait_for_all(self, job_ids, status="succeeded", limit=60):
        end = time.monotonic() + limit
        return [self.wait_for(i, status, max(0.1, end - time.monotonic())) for i in job_ids]

    def sql(self, statement, *params):
        return sql(self.db, statement, *params)

    def log_tails(self):
        return {p.name: p.log_tail() for p in self.processes()}
