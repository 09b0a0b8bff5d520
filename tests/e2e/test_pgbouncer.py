# SPDX-License-Identifier: Apache-2.0
"""The whole life of jobs through PgBouncer in transaction mode: no session state, polling instead of notices."""

import os
import pwd
import subprocess
from datetime import datetime, timedelta, timezone
from urllib.parse import unquote, urlsplit, parse_qs

import pytest

from stack import free_port, wait_until


def parts_of(url):
    """host, port, user, password and database of a libpq URI or connection string."""
    if "://" in url:
        u = urlsplit(url)
        q = parse_qs(u.query)
        return {"host": u.hostname and unquote(u.hostname) or q.get("host", [""])[0], "port": str(u.port or q.get("port", ["5432"])[0]),
                "user": unquote(u.username or q.get("user", [""])[0]), "password": unquote(u.password or ""), "dbname": u.path.lstrip("/")}
    return dict(p.split("=", 1) for p in url.split())


@pytest.fixture
def bouncer(db, workdir):
    p = parts_of(db)
    port = free_port()
    auth = " ".join(f"{k}={v}" for k, v in (("host", p.get("host")), ("port", p.get("port")), ("user", p.get("user")), ("password", p.get("password"))) if v)
    ini = workdir / "pgbouncer.ini"
    (workdir / "users.txt").write_text('"%s" "%s"\n' % (p.get("user", "postgres"), p.get("password", "")))
    ini.write_text(f"""[databases]
{p['dbname']} = {auth} dbname={p['dbname']}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {workdir}/users.txt
pool_mode = transaction
default_pool_size = 4
max_client_conn = 100
ignore_startup_parameters = extra_float_digits,options
logfile = {workdir}/bouncer.log
pidfile =
""")
    args = ["/usr/sbin/pgbouncer", str(ini)]
    extra = {}
    if os.getuid() == 0:
        nobody = pwd.getpwnam("postgres")
        for f in workdir.iterdir():
            os.chown(f, nobody.pw_uid, nobody.pw_gid)
        os.chown(workdir, nobody.pw_uid, nobody.pw_gid)
        extra = {"user": nobody.pw_uid, "group": nobody.pw_gid}
    process = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **extra)
    log = workdir / "bouncer.log"
    wait_until(lambda: process.poll() is not None or (log.exists() and "process up" in log.read_text()), 15, "pgbouncer")
    assert process.poll() is None, log.exists() and log.read_text()
    yield f"host=127.0.0.1 port={port} user={p.get('user', 'postgres')} dbname={p['dbname']}", log
    process.terminate()
    process.wait(15)


def test_jobs_batches_waits_and_cancels_work_through_a_transaction_pooler(make_stack, bouncer, db):
    url, log = bouncer
    stack = make_stack(apis=2, workers=2, db=db, config={"database": {"url": url, "pooler": True}})
    job = stack.http().post("/v1/jobs", stack.body("hello"), headers={"Prefer": "wait=20", "Idempotency-Key": "one"})
    assert job.json["status"] == "succeeded", job
    again = stack.http(api=1).post("/v1/jobs", stack.body("hello"), headers={"Idempotency-Key": "one"})
    assert again.json["id"] == job.json["id"] and again.headers["Idempotent-Replayed"] == "true"
    lines = "\n".join('{"request":{"messages":[{"role":"user","content":"n %d"}]}}' % i for i in range(500))
    batch = stack.http().post("/v1/jobs", lines, headers={"Content-Type": "application/x-ndjson"}).json
    done = wait_until(lambda: (lambda b: b if b["status"] == "completed" else None)(stack.http().get(f"/v1/batches/{batch['id']}").json),
                      60, "the batch")
    assert done["counts"]["succeeded"] == 500
    in_an_hour = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
    later = stack.submit("later", run_at=in_an_hour)
    assert stack.http().post(f"/v1/jobs/{later['id']}/cancel").json["status"] == "canceled"
    assert "prepared statement" not in log.read_text()
