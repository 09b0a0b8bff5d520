# SPDX-License-Identifier: Apache-2.0
"""Private PostgreSQL clusters. One is shared by the whole test run (each test has a database of its own in it, copied from a
migrated template); a test that stops or kills its server makes one for itself.
"""

import glob
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg2

from proc import BIN, Process, free_port, wait_until

USER = "millrace"
TEMPLATE = "millrace_template"


def bin_dir():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda p: int(p.split("/")[4]))
    return os.path.dirname(found[-1] if found else shutil.which("postgres"))


class Pg:
    """A cluster in a directory under /tmp (short, for the socket's path), run as `postgres` when the tests run as root."""

    def __init__(self, options=None):
        self.os_user = "postgres" if os.getuid() == 0 else None
        self.dir = Path(tempfile.mkdtemp(prefix="millrace-pg-", dir="/tmp"))
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self.options = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.dir,
            "max_connections": 300, "shared_buffers": "64MB", "max_wal_size": "2GB", "timezone": "UTC",
            "log_timezone": "UTC", "autovacuum_naptime": "5s", "jit": "off", **(options or {})}
        self.databases = 0
        self._own(self.dir)
        self._initdb()
        self.process = Process(
            "postgres", [f"{bin_dir()}/postgres", "-D", self.dir / "data"]
            + [f"--{k}={v}" for k, v in self.options.items()], self.dir, pdeathsig="INT", user=self.os_user)

    def _own(self, path):
        if self.os_user:
            entry = pwd.getpwnam(self.os_user)
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def _initdb(self):
        password = self.dir / "password"
        password.write_text(self.password)
        self._own(password)
        as_user = ["setpriv", "--reuid", self.os_user, "--regid", self.os_user, "--clear-groups"] if self.os_user else []
        subprocess.run(
            as_user + [f"{bin_dir()}/initdb", "-D", self.dir / "data", "-U", USER, "-E", "UTF8", "--locale=C.UTF-8",
                       "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync"],
            check=True, cwd=self.dir, stdout=subprocess.DEVNULL)

    def start(self, limit=30):
        self.process.start()
        wait_until(self._answers, limit, "PostgreSQL being up")
        return self

    def _answers(self):
        assert self.process.is_running(), f"PostgreSQL ended:\n{self.process.log_tail()}"
        try:
            psycopg2.connect(self.url("postgres"), connect_timeout=5).close()
            return True
        except psycopg2.OperationalError:
            return False

    def url(self, database):
        """Over TCP, so that a test can put a proxy in between (pass its port to url_at)."""
        return self.url_at(self.port, database)

    def url_at(self, port, database):
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{port}/{database}"

    def info(self):
        """What another process of the same test run needs to use this cluster: see PgHandle."""
        return {"port": self.port, "password": self.password, "dir": str(self.dir)}

    def stop(self, mode="fast"):
        self.process.signal({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        self.process.wait(60)

    def kill(self):
        """As a crash of the whole server: SIGKILL to it and all its backends."""
        backends = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.process.signal(signal.SIGSTOP)  # so that it starts no crash recovery of its own
        for pid in backends:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.kill()

    def restart(self, mode="fast"):
        self.stop(mode)
        return self.start()

    def new_database(self, template=TEMPLATE):
        return new_database(self, template)

    def drop_database(self, name):
        drop_database(self, name)

    def make_template(self):
        """The migrated database that tests copy, with a tenant and keys; returns {"api_key", "admin_key"}."""
        sql(self.url("postgres"), f'CREATE DATABASE "{TEMPLATE}"')
        url = self.url(TEMPLATE)
        subprocess.run([BIN, "migrate", "--database-url", url], check=True, stdout=subprocess.DEVNULL)
        return {"api_key": create_key(url, "tests"), "admin_key": create_key(url, "tests admin", admin=True)}

    def close(self):
        try:
            if self.process.is_running():
                self.process.cont()
                self.stop("fast")
        finally:
            if self.process.is_running():
                self.process.kill()
            shutil.rmtree(self.dir, ignore_errors=True)


class PgHandle:
    """The shared cluster as another process of the test run sees it."""

    def __init__(self, info):
        self.port, self.password, self.dir = info["port"], info["password"], Path(info["dir"])

    url, url_at = Pg.url, Pg.url_at
    new_database, drop_database = Pg.new_database, Pg.drop_database


def create_key(url, name, tenant="default", admin=False):
    """A new API key, by the program's own command."""
    argv = [BIN, "key", "create", "--database-url", url, "--tenant", tenant, "--name", name]
    done = subprocess.run(argv + (["--admin"] if admin else []), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(word for word in done.stdout.split() if word.startswith("mr_"))


def new_database(pg, template=TEMPLATE):
    """A fresh database; its URL."""
    name = f"test_{os.getpid()}_{secrets.token_hex(4)}"
    sql(pg.url("postgres"), f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return pg.url(name)


def drop_database(pg, url):
    name = url.rsplit("/", 1)[1]
    sql(pg.url("postgres"), f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def sql(url, statement, *params):
    """Runs one statement in a transaction of its own; the rows as tuples when it gives any."""
    connection = psycopg2.connect(url, connect_timeout=10, application_name="test")
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()
