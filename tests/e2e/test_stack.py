# SPDX-License-Identifier: Apache-2.0
"""The harness itself: what it promises to the other tests."""

import signal

import pytest

from pg import sql
from proc import Process, is_alive


def test_each_test_has_a_database_of_its_own(pg, db):
    other = pg.new_database()
    try:
        sql(db, "CREATE TABLE only_here (n int)")
        assert sql(other, "SELECT to_regclass('only_here')") == [(None,)]
        assert sql(other, "SELECT max(number) >= 1 FROM millrace_migration") == [(True,)]
    finally:
        pg.drop_database(other)


def test_a_cluster_survives_its_crash(make_pg):
    cluster = make_pg()
    url = cluster.url("postgres")
    sql(url, "CREATE TABLE kept (n int)")
    sql(url, "INSERT INTO kept VALUES (1)")
    cluster.kill()
    assert not is_alive(cluster.process.pid)
    cluster.start()
    assert sql(url, "SELECT n FROM kept") == [(1,)]


def test_a_process_that_ends_badly_fails_the_test(workdir):
    bad = Process("bad", ["/bin/sh", "-c", "echo runtime error: made up; exit 0"], workdir).start()
    bad.wait(5)
    with pytest.raises(AssertionError, match="runtime error"):
        bad.close()
    worse = Process("worse", ["/bin/sh", "-c", "exit 3"], workdir).start()
    worse.wait(5)
    with pytest.raises(AssertionError, match="ended with 3"):
        worse.close()


def test_a_stopped_process_goes_on(workdir):
    script = "trap 'exit 0' TERM; echo trap set; while :; do sleep 0.05; done"
    process = Process("sleeper", ["/bin/sh", "-c", script], workdir).start()
    process.wait_log("trap set")
    process.stop()
    process.signal(signal.SIGTERM)
    assert process.is_running()
    process.cont()
    assert process.wait(5) == 0
    process.close()


def test_a_job_goes_through_the_stack(make_stack):
    stack = make_stack(apis=2, workers=2)
    first = stack.submit("hello", api=1)
    done = stack.wait_for(first["id"])
    assert done["result"]["choices"][0]["message"]["content"]
    assert stack.sql("SELECT count(*) FROM outcome") == [(1,)]
    url = stack.url
    assert stack.apis[0].restart().url == url
    stack.workers[0].kill()
    stack.workers[1].kill()
    waiting = stack.submit("hello again")
    stack.workers[1].start()
    assert stack.wait_for(waiting["id"])["status"] == "succeeded"
