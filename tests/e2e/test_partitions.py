# SPDX-License-Identifier: Apache-2.0
"""The weeks' partitions: made ahead whatever the default one holds, dropped when they are old, never under a job that has not ended,
and never at the price of everybody waiting.
"""

import threading

import psycopg2

from proc import REPO
from stack import wait_until

MAKE = "select millrace_make_partitions(now() - interval '1 day', now() + interval '{} days')"
DROP = "select millrace_drop_partitions(interval '30 days', interval '400 days')"
PARTS = "select count(*) from pg_inherits where inhparent = '{}'::regclass"


def shift(stack, by):
    """Gives the one job an id of another time, in every table."""
    at = stack.sql("select left(replace(millrace_uuid_floor(now() + %s::interval)::text, '-', ''), 12)", by)[0][0]
    for table, key in (("job", "id"), ("payload", "job_id"), ("parked", "job_id")):
        stack.sql(f"update {table} set {key} = (%s || right(replace({key}::text, '-', ''), 20))::uuid returning 1", at)


def park(stack):
    at = stack.sql("select to_json(now() + interval '1 hour')")[0][0]
    return stack.submit("waits", run_at=at)["id"]


def test_what_the_default_partition_took_moves_to_its_week(make_stack):
    stack = make_stack(workers=0)
    park(stack)
    shift(stack, "40 days")
    assert stack.sql("select count(*) from job_default") == [(1,)]
    assert stack.sql(MAKE.format(50))[0][0] >= 5
    assert stack.sql("select (select count(*) from job_default), (select count(*) from payload_default),"
                     " (select count(*) from job), (select count(*) from payload)") == [(0, 0, 1, 1)]
    assert stack.sql(MAKE.format(50)) == [(0,)]
    same = "select count(*) from pg_index where indrelid = %s::regclass"
    name = stack.sql("select tableoid::regclass::text from job")[0][0]
    assert stack.sql(same, name) == stack.sql(same, "job_default")


def test_old_weeks_go_but_not_under_a_job_that_has_not_ended(make_stack):
    stack = make_stack(workers=0)
    park(stack)
    stack.sql("select millrace_make_partitions(now() - interval '60 days', now())")
    shift(stack, "-50 days")
    before = stack.sql(PARTS.format("payload"))[0][0]
    dropped = stack.sql(DROP)[0][0]
    assert dropped >= 2 and stack.sql("select count(*) from payload") == [(1,)]
    assert stack.sql(PARTS.format("payload"))[0][0] < before
    stack.sql("delete from parked returning 1")
    assert stack.sql(DROP) == [(2,)]  # payload and result
    assert stack.sql("select (select count(*) from payload), (select count(*) from job)") == [(0, 1)]


def test_old_rows_of_the_default_partition_go_too(make_stack):
    stack = make_stack(workers=0)
    park(stack)
    shift(stack, "-50 days")
    assert stack.sql("select count(*) from payload_default") == [(1,)]
    stack.sql(DROP)
    assert stack.sql("select count(*) from payload_default") == [(1,)]
    stack.sql("delete from parked returning 1")
    stack.sql(DROP)
    assert stack.sql("select (select count(*) from payload_default), (select count(*) from job_default)") == [(0, 1)]


def test_a_long_reader_delays_partitions_and_not_the_queue(make_stack):
    stack = make_stack(workers=0)
    reader = psycopg2.connect(stack.db)
    reader.cursor().execute("select count(*) from job")
    failed = []

    def make():
        try:
            stack.sql(MAKE.format(40))
        except psycopg2.errors.LockNotAvailable as error:
            failed.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    waits = "select count(*) from pg_locks where not granted and mode = 'AccessExclusiveLock'"
    wait_until(lambda: stack.sql(waits)[0][0] > 0 or failed, 5, "the lock being waited for")
    stack.submit("goes on", expires_at=stack.sql("select to_json(now() + interval '1 hour')")[0][0])
    thread.join(10)
    assert len(failed) == 1
    reader.rollback()
    assert stack.sql(MAKE.format(40))[0][0] > 0
    reader.close()


def test_what_has_served_is_deleted_after_the_audit_s_time(make_stack):
    stack = make_stack(workers=0)
    text = (REPO / "worker/sql/prune.sql").read_text().replace("$1", "7").replace("$2", str(400 * 86400000))
    for age in (300, 500):
        uuid = f"millrace_uuid_floor(now() - interval '{age} days')"
        old = f"now() - interval '{age} days'"
        for pending in ("null", "now()"):
            stack.sql("insert into webhook_delivery (bucket, id, tenant_id, event, url, next_at)"
                      f" values (7, (left({uuid}::text, 35) || '{len(pending)}')::uuid, 1, 'job.failed', '', {pending})")
        stack.sql(f"insert into webhook_try (bucket, delivery_id, number, duration_ms) values (7, {uuid}, 1, 1)")
        stack.sql(f"insert into retry (bucket, job_id, token, at) values (7, {uuid}, 1, {old})")
        stack.sql(f"insert into batch (bucket, id, tenant_id, total, finished_at) values (7, {uuid}, 1, 0, {old})")
        stack.sql(f"insert into batch (bucket, id, tenant_id, total) values (7, (left({uuid}::text, 35) || '9')::uuid, 1, 1)")
    stack.sql(text)
    left = [stack.sql(f"select count(*) from {table}")[0][0] for table in ("webhook_delivery", "webhook_try", "retry", "batch")]
    assert left == [3, 1, 1, 3]  # of the old ones what waits for something
