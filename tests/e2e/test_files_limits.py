# SPDX-License-Identifier: Apache-2.0
"""limits.tenant_files_bytes and what an upload announced are exact, however many files and parts end at the same moment."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from forms import upload
from stack import create_key
from test_files import refused
from test_files_uploads import announce, begun, complete, send_part

KIB = 1024


@pytest.fixture
def door(make_stack):
    """Two api processes, and room for three files of 100 KiB."""
    return make_stack(workers=0, simulator=False, apis=2, config={"limits": {"tenant_files_bytes": "300KiB"}})


def slow_inserts(stack, table):
    """What makes a row there goes on for a while after it looked: two at the same moment do not see each other's."""
    stack.sql("create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return new; end $$")
    stack.sql(f"create trigger slow before insert on {table} for each row execute function slow()")


def at_once(n, call):
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(call, range(n)))


def test_files_that_end_at_the_same_moment_do_not_pass_the_limit(door):
    slow_inserts(door, "file")
    answers = at_once(6, lambda i: upload(door.http(i % 2), b"x" * 100 * KIB))
    assert sorted(a.status for a in answers) == [200] * 3 + [413] * 3
    for answer in answers:
        if answer.status == 413:
            refused(answer, 413, text="delete some")
    assert door.sql("select sum(bytes)::int8, count(*) from file")[0] == (300 * KIB, 3)
    assert door.sql("select count(*) from blob where state = 0")[0][0] == 0, "what was refused is dropped"


def test_announced_uploads_and_files_share_the_limit(door):
    slow_inserts(door, "file")
    door.sql("create trigger slow before insert on upload for each row execute function slow()")
    answers = at_once(6, lambda i: upload(door.http(), b"x" * 100 * KIB) if i % 2 else announce(door.http(1), 100 * KIB))
    assert sorted(a.status for a in answers) == [200] * 3 + [413] * 3
    assert door.sql("select coalesce((select sum(bytes) from file), 0)::int8 + coalesce((select sum(bytes) from upload), 0)::int8")[0][0] == 300 * KIB


def test_a_tenant_does_not_wait_for_another(door):
    """The lock of one tenant's commit is held by a transaction that never ends; another's file goes through."""
    import psycopg2
    other = create_key(door.db, "other", tenant="other")
    with psycopg2.connect(door.db) as hold, hold.cursor() as cursor:
        cursor.execute("select id from tenant where name <> 'other' for no key update")
        assert upload(door.http(key=other), b"x").status == 200


def test_parts_at_the_same_moment_have_no_more_bytes_than_announced(door):
    slow_inserts(door, "upload_part")
    up = begun(door.http(), 200 * KIB)
    answers = at_once(5, lambda i: send_part(door.http(i % 2), up, b"x" * 100 * KIB))
    assert sorted(a.status for a in answers) == [200] * 2 + [409] * 3
    assert door.sql("select sum(bytes)::int8 from upload_part")[0][0] == 200 * KIB
    assert door.sql("select count(*) from blob where state = 0")[0][0] == 0
    assert complete(door.http(), up, [a.json for a in answers if a.status == 200]).json["file"]["bytes"] == 200 * KIB
