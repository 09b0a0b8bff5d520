# SPDX-License-Identifier: Apache-2.0
"""Batches whose lines come in the body (NDJSON, Anthropic's requests): written group by group as they arrive, visible as one, or not at all."""

import http.client
import json
import re

import psycopg2
import pytest

from faults import script
from stack import wait_until
from test_batch_file import most_memory
from test_batch_file_faults import first_of_two, it_dies_and_the_other_starts
from test_message_batches import HEADERS, ended, params, results

MIB = 1 << 20
QUIET = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:quarantine_size_mb=1"}  # what was freed is not kept, so that memory can be seen
NDJSON = {"Content-Type": "application/x-ndjson"}


def native(text):
    return {"request": {"messages": [{"role": "user", "content": text}], "max_tokens": 5}}


def as_messages(texts):
    return json.dumps({"requests": [{"custom_id": f"r-{i}", "params": params(text)} for i, text in enumerate(texts)]}).encode()


def as_ndjson(texts):
    return b"".join(json.dumps(native(text)).encode() + b"\n" for text in texts)


FACES = [("/v1/messages/batches", as_messages, {**HEADERS, "Content-Type": "application/json"}), ("/v1/batches", as_ndjson, NDJSON)]
faces = pytest.mark.parametrize("path,make,headers", FACES, ids=["messages", "ndjson"])


class Sending:
    """A request whose body is sent by the caller, piece by piece."""

    def __init__(self, stack, path, headers, length):
        address = stack.http()
        self.connection = http.client.HTTPConnection(address.host, address.port, timeout=120)
        self.connection.putrequest("POST", path)
        for name, value in {**headers, "Authorization": f"Bearer {address.key}", "Content-Length": str(length)}.items():
            self.connection.putheader(name, value)
        self.connection.endheaders()

    def answer(self):
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


def begin(stack, path, make, headers, texts, key=None):
    """A body of which all but the last 10 bytes were sent, and groups of it are in the database; and what is to come."""
    body = make(texts)
    sending = Sending(stack, path, {**headers, **({"Idempotency-Key": key} if key else {})}, len(body))
    sending.connection.send(body[:-10])
    wait_until(lambda: stack.sql("select count(*) > 1 from batch_stage")[0][0], 60, "groups being written")
    return sending, body[-10:]


def nothing_is_left(stack):
    return stack.sql("select (select count(*) from batch_stage) + (select count(*) from batch) + (select count(*) from job)")[0][0] == 0


@faces
def test_memory_does_not_grow_with_the_body(make_stack, path, make, headers):
    stack = make_stack(workers=0, env=QUIET)
    assert stack.http().post(path, make(["x" * 10000] * 10), headers=headers).status in (200, 202)
    before = most_memory(stack.apis[0])
    body = make(["x" * 10000] * 6000)
    answer = stack.http().post(path, body, headers=headers, timeout=120)
    assert answer.status in (200, 202), answer
    grown = (most_memory(stack.apis[0]) - before) * 1024
    assert stack.sql("select count(*), count(distinct batch_index) from job where batch_index >= 0 and batch_id = (select max(id::text)::uuid from batch)")[0] == (6000, 6000)
    assert grown < 24 * MIB, f"{grown / MIB:.0f} MiB more for {len(body) / MIB:.0f}"


@faces
def test_all_lines_come_in_their_order_over_many_groups(stack, path, make, headers):
    script(stack, model="sim-extract", echo=True)
    texts = [f"text {i} " + "y" * (i % 7 * 900) for i in range(1700)]
    answer = stack.http().post(path, make(texts), headers=headers, timeout=60)
    assert answer.status in (200, 202), answer
    batch_id = re.sub("^msg", "", answer.json["id"])
    wait_until(lambda: stack.http().get(f"/v1/batches/{batch_id}").json["counts"]["succeeded"] == 1700, 60, "all lines having ended")
    rows = stack.sql("select batch_index, j.custom_id, p.body from job j join payload p on p.job_id = j.id order by batch_index")
    assert [r[0] for r in rows] == list(range(1700))
    for (index, name, body), text in zip(rows, texts):
        assert json.loads(body)["request"]["messages"][0]["content"] == text and name == (f"r-{index}" if path.startswith("/v1/messages") else None)
    assert stack.sql("select count(*) from batch_stage")[0][0] == 0
    if path.startswith("/v1/messages"):
        assert ended(stack, answer.json["id"])["request_counts"]["succeeded"] == 1700
        for name, result in results(stack, answer.json["id"]).items():
            assert result["message"]["content"][0]["text"].startswith(f"text {name[2:]} ")


@faces
def test_a_client_that_vanishes_leaves_nothing(make_stack, path, make, headers):
    stack = make_stack(workers=0)
    sending, _ = begin(stack, path, make, headers, ["z" * 3000] * 2500)
    assert stack.sql("select (select count(*) from batch) + (select count(*) from job)")[0][0] == 0, "nothing can be seen"
    sending.connection.close()
    wait_until(lambda: nothing_is_left(stack), 20, "the groups being gone")


@faces
def test_what_is_refused_at_its_end_leaves_nothing(make_stack, path, make, headers):
    stack = make_stack(workers=0, config={"limits": {"batch_jobs": 2499}})
    sending, rest = begin(stack, path, make, headers, ["z" * 3000] * 2500)
    sending.connection.send(rest)
    assert sending.answer()[0] == 413
    wait_until(lambda: nothing_is_left(stack), 20, "the groups being gone")


@faces
def test_a_repeat_of_a_large_body_makes_no_second_batch(make_stack, path, make, headers):
    stack = make_stack(workers=0)
    body, headers = make(["z" * 3000] * 2500), {**headers, "Idempotency-Key": "large"}
    first = stack.http().post(path, body, headers=headers, timeout=60)
    again = stack.http().post(path, body, headers=headers, timeout=60)
    assert first.status == again.status and again.json["id"] == first.json["id"] and again.headers["Idempotent-Replayed"] == "true"
    assert stack.http().post(path, make(["another"] * 2500), headers=headers, timeout=60).status == 422
    assert stack.sql("select count(*) from job")[0][0] == 2500
    wait_until(lambda: stack.sql("select count(*) from batch_stage")[0][0] == 0, 20, "the groups of the repeats being gone")


@faces
def test_groups_of_a_process_that_died_are_swept(make_stack, path, make, headers):
    stack = make_stack(workers=0, config={"files": {"sweep": "50ms"}})
    begin(stack, path, make, headers, ["z" * 3000] * 2500)
    stack.apis[0].kill()
    stack.apis[0].start()
    assert stack.sql("select count(*) > 1 from batch_stage")[0][0]
    stack.sql("update batch_stage set written_at = written_at - interval '61 minutes'")
    wait_until(lambda: nothing_is_left(stack), 20, "the groups being gone")


@faces
def test_groups_that_are_lost_are_not_passed_over(make_stack, path, make, headers):
    """As after a crash of the database, which empties tables that are not logged."""
    stack = make_stack(workers=0)
    sending, rest = begin(stack, path, make, headers, ["z" * 3000] * 2500, key="lost")
    stack.sql("delete from batch_stage where number = 0")
    sending.connection.send(rest)
    status, answer = sending.answer()
    assert status == 503, answer
    wait_until(lambda: nothing_is_left(stack), 20, "the rest being gone")
    again = stack.http().post(path, make(["z" * 3000] * 2500), headers={**headers, "Idempotency-Key": "lost"}, timeout=60)
    assert again.status in (200, 202) and stack.sql("select count(*) from job")[0][0] == 2500


@faces
@pytest.mark.parametrize("fault", ["db.result.batch_stage_add=error@2", "db.result.batch_accept_jobs=error@2", "db.send.batch_stage_add=error@3"])
def test_a_lost_answer_of_the_database_does_no_harm(make_stack, path, make, headers, fault):
    stack = make_stack(workers=0, env={"MILLRACE_FAULTS": fault})
    answer = stack.http().post(path, make(["z" * 3000] * 2500), headers=headers, timeout=60)
    assert answer.status in (200, 202), answer
    assert stack.sql("select count(*), count(distinct batch_index), count(distinct batch_id) from job")[0] == (2500, 2500, 1)
    assert stack.sql("select count(*) from ready")[0][0] == 2500 and stack.sql("select count(*) from batch_stage")[0][0] == 0


@faces
@pytest.mark.parametrize("fault", ["batch.after_stage=exit@2", "accept.after_commit=exit@1"])
def test_an_api_that_is_killed_makes_all_or_nothing(make_stack, path, make, headers, fault):
    """… and the repeat of the request with its key ends with one batch."""
    stack = first_of_two(make_stack, fault)
    body, headers = make(["z" * 3000] * 2500), {**headers, "Idempotency-Key": "killed"}
    with pytest.raises((OSError, http.client.HTTPException)):
        stack.http().post(path, body, headers=headers, timeout=60)
    it_dies_and_the_other_starts(stack)
    assert stack.sql("select count(*) from job")[0][0] == (2500 if fault.startswith("accept") else 0)
    again = stack.http(1).post(path, body, headers=headers, timeout=60)
    assert again.status in (200, 202), again
    assert stack.sql("select count(*), count(distinct batch_index), count(distinct batch_id) from job")[0] == (2500, 2500, 1)
    assert stack.sql("select count(*) from ready")[0][0] == 2500
    stack.apis[0].start()


def test_a_tenant_pays_with_no_place_in_the_queue_for_what_it_did_not_submit(make_stack):
    """A body that is given up gives the places of its lines back."""
    stack = make_stack(workers=0)
    stack.submit("first")
    path, make, headers = FACES[1]
    for _ in range(2):
        sending, _ = begin(stack, path, make, headers, ["z" * 3000] * 2500)
        sending.connection.close()
        wait_until(lambda: stack.sql("select count(*) from batch_stage")[0][0] == 0, 20, "the groups being gone")
    stack.submit("second")
    places = [row[0] for row in stack.sql("select pass from ready order by pass")]
    assert places[1] - places[0] < 10 * (places[0] or 1), places


def test_the_database_away_holds_a_body_back(make_stack):
    """Lines that cannot be written wait; the client is not read from, and its batch is whole in the end."""
    stack = make_stack(workers=0)
    path, make, headers = FACES[0]
    with psycopg2.connect(stack.db) as hold, hold.cursor() as cursor:
        cursor.execute("lock table batch_stage in share row exclusive mode")
        body = make(["z" * 3000] * 2500)
        sending = Sending(stack, path, headers, len(body))
        sending.connection.send(body[:2 * MIB])
        wait_until(lambda: stack.sql("select count(*) > 0 from pg_stat_activity where wait_event_type = 'Lock'")[0][0], 20, "a group waiting")
        cursor.execute("rollback")
    sending.connection.send(body[2 * MIB:])
    assert sending.answer()[0] == 200
    assert stack.sql("select count(*) from job")[0][0] == 2500
