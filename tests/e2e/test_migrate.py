# SPDX-License-Identifier: Apache-2.0
"""`millrace migrate`: from nothing to the newest schema, again without effect, by many at once, never on a newer schema."""

import re
import subprocess
from pathlib import Path

import pytest

from pg import new_database, sql
from proc import BIN, REPO

FILES = sorted(p.name for p in (REPO / "migrations").glob("[0-9]*.sql"))


@pytest.fixture
def empty(pg):
    url = new_database(pg, template="template0")
    yield url
    pg.drop_database(url)


def migrate(url, *args):
    return subprocess.run([BIN, "migrate", "--database-url", url, *args], capture_output=True, text=True, timeout=60)


def applied(url):
    return [row[0] for row in sql(url, "SELECT number FROM millrace_migration ORDER BY number")]


def test_from_nothing_then_nothing_to_do(empty):
    first = migrate(empty)
    assert first.returncode == 0, first.stderr
    assert applied(empty) == [int(name[:4]) for name in FILES]
    second = migrate(empty)
    assert second.returncode == 0
    assert "nothing to do" in second.stdout
    assert applied(empty) == [int(name[:4]) for name in FILES]


def test_status_tells_and_changes_nothing(empty):
    before = migrate(empty, "--status")
    assert before.returncode == 1
    assert before.stdout.count("pending") == len(FILES)
    assert sql(empty, "SELECT to_regclass('millrace_migration')") == [(None,)]
    migrate(empty)
    after = migrate(empty, "--status")
    assert after.returncode == 0
    assert len(re.findall(r"applied +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  \d{4}_", after.stdout)) == len(FILES)


def test_many_at_once_apply_each_migration_once(empty):
    running = [
        subprocess.Popen([BIN, "migrate", "--database-url", empty], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    ends = [(p.communicate(timeout=60), p.returncode) for p in running]
    assert [code for _, code in ends] == [0] * 4, ends
    assert applied(empty) == [int(name[:4]) for name in FILES]


def test_a_newer_schema_is_refused(empty):
    migrate(empty)
    sql(empty, "INSERT INTO millrace_migration (number, name) VALUES (9999, '9999_future')")
    done = migrate(empty)
    assert done.returncode == 1
    assert "9999" in done.stderr and "newer" in done.stderr
    assert migrate(empty, "--status").returncode == 1


def test_a_failed_migration_leaves_nothing_of_itself(empty):
    # Something that the first migration makes is there already, so that it fails in its middle.
    sql(empty, "CREATE TABLE webhook_try (n int)")
    done = migrate(empty)
    assert done.returncode == 1
    assert FILES[0][:4] in done.stderr and "webhook_try" in done.stderr
    assert sql(empty, "SELECT to_regclass('job'), to_regclass('tenant')") == [(None, None)]
    sql(empty, "DROP TABLE webhook_try")
    assert migrate(empty).returncode == 0


def test_without_a_database_it_says_where_one_is_looked_for(workdir):
    done = subprocess.run([BIN, "migrate"], cwd=workdir, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    assert "--database-url" in done.stderr


def test_the_configuration_names_the_database(empty, workdir):
    config = Path(workdir / "config.json")
    config.write_text('{"database": {"url": "%s"}}' % empty)
    done = subprocess.run([BIN, "migrate", "--config", config], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    config.write_text('{"database": {"urll": "x"}}')
    done = subprocess.run([BIN, "migrate", "--config", config], capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    assert "urll" in done.stderr
