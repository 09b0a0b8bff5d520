# SPDX-License-Identifier: Apache-2.0
"""`millrace up`, as a newcomer uses it: from an empty folder, again, through crashes, and without traces at the end."""

import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from proc import BIN, RUN_VARIABLE, Process, free_port, is_alive, processes_of_run, wait_until
from stack import Http, Simulator, sql


class Up(Process):
    """`millrace up` in a folder of its own; every process of it carries a mark of its own, too."""

    def __init__(self, workdir, shared, *args, env=None, listen=True):
        self.mark = f"{shared['run']}-{os.urandom(4).hex()}"
        listen_args = ["--listen", f"127.0.0.1:{free_port()}"] if listen else []
        keyless = {"OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": "", "GEMINI_API_KEY": "", "MILLRACE_BASE_URL": ""}
        super().__init__("up", [BIN, "up", *listen_args, *args], workdir,
                         env={**keyless, RUN_VARIABLE: self.mark, **(env or {})},
                         ready_file=Path(workdir) / ".millrace" / "ready.json")

    def start(self, limit=60):
        began = time.monotonic()
        super().start(limit)
        self.seconds = time.monotonic() - began
        return self

    def reread(self):
        """The ready file as it is now; None while there is none."""
        try:
            self.ready = json.loads(self.ready_file.read_text())
            return self.ready
        except FileNotFoundError:
            return None

    def pids(self):
        ids = (self.reread() or self.ready)["pids"]
        return ids["api"] + ids["worker"] + [ids["postgres"]] + ([ids["simulator"]] if ids["simulator"] else [])

    def http(self):
        return Http(self.ready["url"], self.ready["api_key"])

    def processes(self):
        return processes_of_run(self.mark)


@pytest.fixture
def make_up(workdir, shared):
    made = []

    def make(*args, folder="here", **kw):
        directory = workdir / folder
        directory.mkdir(exist_ok=True)
        made.append(Up(directory, shared, *args, **kw))
        return made[-1]

    yield make
    for up in made:
        try:
            up.close()
        finally:
            wait_until(lambda: not up.processes(), 60, "the end of everything that up started")
            data = up.workdir / ".millrace" / "pg"
            if data.is_symlink():
                shutil.rmtree(data.resolve(), ignore_errors=True)


def test_from_empty_it_serves(make_up):
    up = make_up("--apis", "2", "--workers", "2").start()
    assert oct(up.ready_file.stat().st_mode & 0o777) == "0o600"
    assert len(up.ready["pids"]["api"]) == len(up.ready["pids"]["worker"]) == 2
    assert all(is_alive(pid) for pid in up.pids())
    assert up.http().get("/healthz").status == 200
    assert up.http().get("/readyz").status == 200
    body = {"request": {"messages": [{"role": "user", "content": "Say hello"}]}}
    answer = up.http().post("/v1/jobs?wait=20", body)
    assert answer.json["status"] == "succeeded", answer
    assert sql(up.ready["database_url"], "SELECT count(*) FROM job") == [(1,)]
    for secret in ("pg.password", "keys.json", "config.json"):
        assert (up.workdir / ".millrace" / secret).stat().st_mode & 0o077 == 0


def test_a_second_run_keeps_everything(make_up, record_property):
    up = make_up().start()
    first = up.ready
    job = up.http().post("/v1/jobs", {"request": {"messages": [{"role": "user", "content": "x"}]}}).json
    assert up.term() == 0
    assert not up.ready_file.exists()
    log_before = len(up.log())
    up.start()
    record_property("seconds_of_second_start", up.seconds)
    print(f"second start: {up.seconds:.2f} s")
    assert up.ready["api_key"] == first["api_key"]
    assert up.ready["admin_key"] == first["admin_key"]
    assert up.http().get(f"/v1/jobs/{job['id']}").status == 200
    assert "a new cluster" not in up.log()[log_before:]


@pytest.mark.parametrize("kind", ["api", "worker", "postgres", "simulator"])
def test_a_killed_process_is_replaced(make_up, kind):
    up = make_up().start()
    pid_of = lambda ready: ready["pids"][kind][0] if kind in ("api", "worker") else ready["pids"][kind]  # noqa: E731
    before = pid_of(up.ready)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: up.reread() and pid_of(up.ready) not in (before, 0, None), 30, f"another {kind} in the ready file")
    assert is_alive(pid_of(up.ready))
    wait_until(lambda: up.http().get("/readyz").status == 200, 30, "the service being ready again")


def test_sigterm_leaves_nothing(make_up):
    up = make_up().start()
    pids = up.pids()
    data = up.workdir / ".millrace" / "pg"
    shared_memory = (data / "postmaster.pid").read_text().splitlines()[6].split()[1]
    assert up.term() == 0
    assert not any(is_alive(pid) for pid in pids)
    assert not up.processes()
    assert not up.ready_file.exists()
    assert not (data / "postmaster.pid").exists()
    assert shared_memory not in [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    assert not (up.workdir / ".millrace" / "sockets").exists()
    assert list((up.workdir / ".millrace" / "run").iterdir()) == []


def test_kill_9_takes_everything_along_and_the_next_run_goes_on(make_up):
    up = make_up().start()
    first = up.ready
    up.kill()
    wait_until(lambda: not any(is_alive(pid) for pid in up.pids()), 60, "the end of all processes")
    up.start()
    assert up.ready["api_key"] == first["api_key"]
    assert up.ready["url"] == first["url"]


def test_kill_9_of_up_and_postgres_recovers(make_up):
    up = make_up().start()
    postgres = up.ready["pids"]["postgres"]
    up.signal(signal.SIGSTOP)
    os.kill(postgres, signal.SIGKILL)
    up.kill()
    wait_until(lambda: not up.processes(), 60, "the end of all processes")
    assert (up.workdir / ".millrace" / "pg" / "postmaster.pid").exists()
    up.start()
    assert up.http().get("/readyz").status == 200


@pytest.mark.parametrize("folder", ["with spaces, commas and a \"quote\"", "long-" + "x" * 100])
def test_any_folder(make_up, folder):
    up = make_up(folder=folder).start()
    assert sql(up.ready["database_url"], "SELECT 1") == [(1,)]
    sockets = Path(parse_qs(urlsplit(up.ready["database_url"]).query)["host"][0])
    assert list(sockets.glob(".s.PGSQL.*"))
    assert up.term() == 0
    assert not sockets.exists()


def test_a_second_up_is_refused(make_up):
    up = make_up().start()
    other = subprocess.run([BIN, "up"], cwd=up.workdir, capture_output=True, text=True, timeout=30)
    assert other.returncode == 1
    assert "another `millrace up` runs" in other.stderr
    assert up.ready_file.exists()
    assert up.http().get("/healthz").status == 200


def test_a_taken_port(make_up):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = make_up("--listen", f"127.0.0.1:{port}", listen=False)
        with pytest.raises(AssertionError, match="ended with 1"):
            up.start()
        assert f"127.0.0.1:{port} is taken" in up.log()
        assert not up.processes()
        up.expect_bad_end = True


def test_without_a_wish_the_next_free_port_is_taken(make_up):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        except OSError:
            pass  # somebody else has it: just as well
        up = make_up(listen=False).start()
        assert 8080 < urlsplit(up.ready["url"]).port <= 8180
        assert up.http().get("/healthz").status == 200


def test_a_second_signal_does_not_wait(make_up):
    up = make_up().start()
    frozen = up.ready["pids"]["worker"][0]
    os.kill(frozen, signal.SIGSTOP)
    up.signal(signal.SIGTERM)
    up.wait_log('"msg":"stopping"')
    wait_until(lambda: not is_alive(up.ready["pids"]["api"][0]), 15, "the end of the api")
    assert up.is_running() and is_alive(frozen)
    assert up.term() == 0
    assert not is_alive(frozen)
    assert not up.processes()


def test_a_hung_process_does_not_keep_up_from_its_end(make_up):
    """It is killed ten seconds after its grace."""
    up = make_up(env={"MILLRACE_WORKER_GRACE": "1s", "MILLRACE_SERVER_GRACE": "0s"}).start()
    frozen = [up.ready["pids"]["worker"][0], up.ready["pids"]["api"][0], up.ready["pids"]["simulator"]]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    assert up.term(45) == 0
    killed = {e["child"] for e in up.log_events("child_force")}
    assert killed == {"worker-0", "api-0", "simulator"}
    assert not up.processes()


def test_the_log_is_json_and_postgres_has_its_own(make_up):
    up = make_up().start()
    assert up.term() == 0
    assert "database system is ready" in (up.workdir / ".millrace" / "postgres.log").read_text()
    assert "database system" not in up.log()
    check = subprocess.run([BIN, "check-config", up.workdir / ".millrace" / "config.json"], capture_output=True, text=True)
    assert check.returncode == 0, check.stderr


def test_sighup_goes_on_to_api_and_worker(make_up):
    up = make_up().start()
    up.signal(signal.SIGHUP)
    for process in ("api", "worker"):
        wait_until(lambda: any(e.get("process") == process and "reload" in e.get("event", "") for e in up.log_events()),
                   15, f"the reload of the {process}")  # noqa: B023
    assert up.is_running()


def test_a_server_named_by_the_environment_is_used(make_up, workdir):
    simulator = Simulator(workdir).start()
    try:
        up = make_up(env={"MILLRACE_BASE_URL": simulator.base_url, "MILLRACE_MODEL": "sim-extract",
                          "MILLRACE_API_KEY_UPSTREAM": "sk-simulator"}).start()
        assert up.ready["simulator_url"] is None and up.ready["pids"]["simulator"] is None
        body = {"request": {"messages": [{"role": "user", "content": "Say hello"}]}}
        job = up.http().post("/v1/jobs?wait=20", body).json
        assert job["status"] == "succeeded", job
        assert job["served_by"]["target"] == "upstream"
        assert job["cost"]["usd"] is None  # its price is unknown, not zero
    finally:
        simulator.close()


def test_a_mistake_in_the_configuration_is_said(make_up, workdir):
    config = workdir / "bad.json"
    config.write_text('{"worker": {"slotz": 3}, "targets": {}}')
    up = make_up("--config", config)
    with pytest.raises(AssertionError, match="ended with 1"):
        up.start()
    assert "  worker.slotz: " in up.log()
    assert f"millrace up: {config}: 1 mistake" in up.log()
    assert not up.processes()
    up.expect_bad_end = True


def test_once_with_the_sample(make_up):
    up = make_up("--sample", "--once")
    up.ready_file = None  # it may be gone before it is seen
    up.start()
    assert up.wait(120) == 0, up.log_tail()
    log = up.log()
    assert "GPL-3" in log and "succeeded in" in log and '"summary"' in log
    assert not up.processes()


def test_in_a_folder_that_postgres_cannot_reach(make_up, workdir):
    if os.getuid() != 0:
        pytest.skip("only root's folders are out of reach for the server's user")
    private = workdir / "private"
    private.mkdir(mode=0o700)
    os.chmod(private, 0o700)
    up = make_up(folder="private/clone").start()
    link = up.workdir / ".millrace" / "pg"
    assert link.is_symlink() and str(link.resolve()).startswith("/var/lib/millrace/")
    sql(up.ready["database_url"], "CREATE TABLE kept (n int)")
    up.restart()
    assert sql(up.ready["database_url"], "SELECT count(*) FROM kept") == [(0,)]
    assert up.term() == 0


def test_as_an_ordinary_user(make_up, workdir):
    if os.getuid() != 0:
        pytest.skip("the other tests do that here")
    program = workdir / "millrace"
    shutil.copy(BIN, program)
    folder = workdir / "of-nobody"
    folder.mkdir()
    shutil.chown(folder, "nobody", "nogroup")
    up = make_up(folder="of-nobody")
    up.prefix = ["setpriv", "--pdeathsig", "KILL", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
    up.argv[0] = str(program)
    up.start()
    assert up.http().get("/readyz").status == 200
    assert up.term() == 0


def test_on_a_terminal(workdir, shared):
    """Ticks, something to paste, and Ctrl-C, which reaches `up` alone and stops all."""
    mark = f"{shared['run']}-tty"
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(workdir)
        env = {**os.environ, RUN_VARIABLE: mark, "TERM": "xterm", "OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": "", "GEMINI_API_KEY": "",
               "MILLRACE_BASE_URL": ""}
        os.execve(BIN, [BIN, "up", "--listen", f"127.0.0.1:{free_port()}"], env)
    seen = b""

    def read_until(text, limit=60):
        nonlocal seen
        end = time.monotonic() + limit
        while text not in seen:
            assert time.monotonic() < end, seen.decode(errors="replace")
            if select.select([fd], [], [], 0.5)[0]:
                try:
                    seen += os.read(fd, 65536)
                except OSError:
                    break

    try:
        read_until(b"Ctrl-C stops everything")
        for text in ("✓".encode(), b"PostgreSQL", b"API key  mr_", b"curl -s 'http://127.0.0.1:"):
            assert text in seen, seen.decode(errors="replace")
        assert b'{"time"' not in seen  # the log is in the file
        assert (workdir / ".millrace" / "millrace.log").stat().st_size > 0
        os.write(fd, b"\x03")
        read_until(b"stopping")
        done = wait_until(lambda: [x for x in [os.waitpid(pid, os.WNOHANG)] if x[0]], 30, "the end of up")
        assert os.waitstatus_to_exitcode(done[0][1]) == 0
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(fd)
    wait_until(lambda: not processes_of_run(mark), 15, "the end of everything that up started")
