# SPDX-License-Identifier: Apache-2.0
"""Processes under test: start, wait until ready, signal, and be sure that nothing is left.

Every process gets an environment variable that names the test run, so that grandchildren are found too, and dies with its
parent (setpriv --pdeathsig), so that a killed test run leaves nothing. A process that ends badly by itself, or whose log has a
sanitizer's report, fails the test that started it, whatever the test itself looked at.
"""

import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
BIN = os.environ.get("MILLRACE_BIN", str(REPO / "build/asan/millrace"))
RUN_VARIABLE = "MILLRACE_TEST_RUN"
SANITIZER = re.compile(r"ERROR: (Address|Leak|Thread)Sanitizer|runtime error:|Assertion .* failed")


def wait_until(cond, limit=15, what="the condition", step=0.02):
    """Calls cond() until it gives something true, and returns that; fails after `limit` seconds, naming `what`."""
    end = time.monotonic() + limit
    while True:
        value = cond()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {limit} s (last: {value!r})")
        time.sleep(step)


def ports_of_this_process(first=15000, last=30000, shares=10):
    """pytest's workers (gw0, gw1, …) have a share of them each, and begin anywhere in it."""
    share = int(os.environ.get("PYTEST_XDIST_WORKER", f"gw{shares - 1}").removeprefix("gw")) % shares
    mine = range(first + share * (last - first) // shares, first + (share + 1) * (last - first) // shares)
    begin = random.randrange(len(mine))
    return itertools.cycle([*mine[begin:], *mine[:begin]])


PORTS = ports_of_this_process()


def free_port():
    """A port below those that the kernel hands out by itself, and never the same twice in a run: so that nobody gets it before the program under test does,
    or while that is away for a restart."""
    for _ in range(100):
        port = next(PORTS)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no port is free")


def is_alive(pid):
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes_of_run(run):
    """{pid: command line} of every process that carries this run's mark."""
    mark = f"{RUN_VARIABLE}={run}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0") and is_alive(int(entry.name)):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return found


class Process:
    """One program under test. Its log is workdir/NAME.log, over all restarts."""

    def __init__(self, name, argv, workdir, env=None, ready_file=None, pdeathsig="KILL", user=None):
        self.name = name
        self.argv = [str(a) for a in argv]
        self.workdir = Path(workdir)
        self.log_path = self.workdir / f"{name}.log"
        self.env = {**os.environ, "MILLRACE_CONFIG": "", **(env or {})}
        self.ready_file = Path(ready_file) if ready_file else None
        self.prefix = ["setpriv", "--pdeathsig", pdeathsig]
        if user:
            self.prefix += ["--reuid", user, "--regid", user, "--clear-groups"]
        self.popen = None
        self.ready = {}
        self.expect_bad_end = False  # the test killed it

    def start(self, limit=30):
        assert not self.is_running(), f"{self.name} runs already"
        if self.ready_file:
            self.ready_file.unlink(missing_ok=True)
        self.expect_bad_end = False
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                self.prefix + ["--"] + self.argv, cwd=self.workdir, env=self.env,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if self.ready_file:
            self.wait_ready(limit)
        return self

    def wait_ready(self, limit=30):
        def look():
            if self.popen.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.popen.returncode} at its start:\n{self.log_tail()}")
            try:
                self.ready = json.loads(self.ready_file.read_text())
            except FileNotFoundError:
                return False
            return self.ready.get("pid", self.pid) == self.pid

        wait_until(look, limit, f"the ready file of {self.name}")

    @property
    def pid(self):
        return self.popen.pid

    @property
    def returncode(self):
        return self.popen.poll() if self.popen else None

    def is_running(self):
        return self.popen is not None and self.popen.poll() is None

    def signal(self, signum):
        self.popen.send_signal(signum)

    def stop(self):
        """Freezes it (SIGSTOP); cont() lets it go on."""
        self.signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.pid}/stat")
        wait_until(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T", 5, f"{self.name} being stopped")

    def cont(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """As a crash: SIGKILL."""
        self.expect_bad_end = True
        if self.is_running():
            self.popen.kill()
        self.popen.wait(10)

    def term(self, limit=30):
        """SIGTERM, and the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(limit)

    def wait(self, limit=30):
        try:
            return self.popen.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {limit} s:\n{self.log_tail()}") from None

    def restart(self, limit=30):
        if self.is_running():
            self.term(limit)
        return self.start(limit)

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines=40):
        return "\n".join(self.log().splitlines()[-lines:])

    def log_events(self, event=None):
        """Its JSON log lines; those of one event when named."""
        found = []
        for line in self.log().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and event in (None, entry.get("event")):
                found.append(entry)
        return found

    def wait_log(self, text, limit=15):
        wait_until(lambda: text in self.log(), limit, f"{text!r} in the log of {self.name}")

    def close(self):
        """The end of a test: stops it, and fails when it ended badly by itself or a sanitizer complained."""
        if self.popen is None:
            return
        if self.is_running():
            self.cont()
            self.popen.terminate()
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"{self.name} did not end on SIGTERM:\n{self.log_tail()}") from None
        report = SANITIZER.search(self.log())
        assert not report, f"{self.name}: {report.group(0)}\n{self.log()[report.start():][:6000]}"
        if not self.expect_bad_end:
            assert self.returncode == 0, f"{self.name} ended with {self.returncode}:\n{self.log_tail()}"
