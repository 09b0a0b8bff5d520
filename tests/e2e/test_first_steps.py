# SPDX-License-Identifier: Apache-2.0
"""What processes say to somebody who starts them too early, or against the wrong database: once, and why."""

import json
import os
import subprocess

import pytest

from pg import sql
from proc import BIN, free_port, wait_until
from stack import Api, Worker, merged, QUICK


def events(process):
    return [json.loads(line) for line in process.log().splitlines() if line.startswith("{")]


def start(kind, workdir, url):
    process = kind(workdir, config=merged(QUICK, {"database": {"url": url}}))
    process.ready_file = None  # it will not be ready
    process.config["server"]["listen"] = f"127.0.0.1:{free_port()}"
    return process.start()


@pytest.mark.parametrize("kind", [Api, Worker])
def test_a_database_that_is_not_there_is_named_once_with_the_reason(kind, workdir):
    process = start(kind, workdir, f"postgresql://127.0.0.1:{free_port()}/none")
    try:
        wait_until(lambda: any(e["event"] == "database_down" for e in events(process)), 20, "a word about the database")
        said = [e for e in events(process) if e["level"] in ("warn", "error")]
        assert "Connection refused" in said[0]["why"], said
        assert [e["event"] for e in said] == ["database_down"], said
    finally:
        process.close()


@pytest.mark.parametrize("kind", ["api", "worker"])
def test_a_configuration_with_mistakes_is_refused_in_plain_words(kind, workdir):
    (workdir / "bad.json").write_text('{"database": {"url": "postgresql:///x"}, "queue": {"leese": "5s"}}')
    for config, said in (("bad.json", f"millrace {kind}: queue.leese: "), ("none.json", f"millrace {kind}: none.json: cannot be read: No such file")):
        p = subprocess.run([BIN, kind, "--config", config], cwd=workdir, capture_output=True, text=True, timeout=30)
        assert p.returncode == 1 and p.stderr.startswith(said) and p.stderr.count("\n") == 1, p.stderr
    env = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
    p = subprocess.run([BIN, kind], cwd=workdir, env=env, capture_output=True, text=True, timeout=30)
    assert p.returncode == 1 and p.stderr == f"millrace {kind}: database.url is not set (MILLRACE_DATABASE_URL)\n"


def test_a_worker_before_the_migration_says_what_to_do(workdir, pg):
    process = start(Worker, workdir, pg.new_database(template="template0"))
    try:
        wait_until(lambda: any(e["event"] == "heartbeat_failed" for e in events(process)), 20, "a word about the schema")
        said = [e for e in events(process) if e["level"] in ("warn", "error")]
        assert len(said) == 1 and "millrace migrate" in said[0]["hint"], said
    finally:
        process.close()


def test_an_api_before_the_migration_says_what_to_do(workdir, pg):
    url = pg.new_database(template="template0")
    process = start(Api, workdir, url)
    try:
        wait_until(lambda: any(e["event"] == "schema_old" for e in events(process)), 20, "a word about the schema")
        said = [e for e in events(process) if e["event"] == "schema_old"]
        assert len(said) == 1 and "millrace migrate" in said[0]["msg"] and said[0]["have"] == 0
        assert sql(url, "select 1") == [(1,)]
    finally:
        process.close()
