# SPDX-License-Identifier: Apache-2.0
"""Files of batches as editors and scripts really write them, and as an attacker might: what is meant is taken, all else is told by line."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from batchfile import as_jsonl, chat_line, create, fetch, line, start, upload, wait_for_batch
from stack import create_key, wait_until


@pytest.fixture
def door(make_stack):
    return make_stack(workers=0)


def loaded(stack, content):
    """The custom_ids of a file that is valid, in order."""
    batch = start(stack, content)
    wait_until(lambda: fetch(stack, batch["id"])["status"] != "validating", 30, "the file being judged")
    assert fetch(stack, batch["id"])["errors"] is None, fetch(stack, batch["id"])["errors"]
    wait_until(lambda: stack.sql(f"select stage from batch_file where id = '{batch['id'][6:]}'") == [(2,)], 30, "its lines being jobs")
    return [r[0] for r in stack.sql(f"select custom_id from job where batch_id = '{batch['id'][6:]}' order by batch_index")]


def told(stack, content, **how):
    failed = wait_for_batch(stack, start(stack, content, **how)["id"], "failed")
    return [(e["line"], e["code"], e["param"]) for e in failed["errors"]["data"]]


def test_what_editors_do_to_lines(door):
    a, b = json.dumps(chat_line("a")).encode(), json.dumps(chat_line("b")).encode()
    for content in (a + b"\n" + b + b"\n", a + b"\n" + b, b"\xef\xbb\xbf" + a + b"\n" + b + b"\n", a + b"\r\n" + b + b"\r\n", a + b"\r\n\r\n\n   \n" + b,
                    b"\n\n" + a + b"\n\t\n" + b + b"\n\n\n", b"  " + a + b"  \n\t" + b + b"\t", b"\xef\xbb\xbf\r\n" + a + b"\r\n" + b):
        assert loaded(door, content) == ["a", "b"], content


def test_what_is_no_line(door):
    good = json.dumps(chat_line("a")).encode()
    nul = good.replace(b"hello", b"he\\u0000llo")
    faults = [
        good + b",", b"[" + good + b"]", good + good, b"\xff\xfe" + good, good.replace(b"hello", b"h\xffllo"), good.replace(b"hello", b"h\x00llo"),
        good.replace(b"hello", b"h\x01llo"), good[:-1], b"null", b"1", b'"x"', b"{'custom_id': 'a'}", good.replace(b"hello", b"\\ud800"),
        b'{"custom_id": "a", "custom_id": "b"}', b"[" * 100000, b"\xef\xbb\xbf" + good, b"{}" + b" " * 100 + b"{}",
    ]
    assert told(door, b"\n".join(faults) + b"\n") == [(n, "invalid_json_line", None) for n in range(1, len(faults) + 1)]
    assert told(door, nul)[0][:2] in [(1, "invalid_json_line"), (1, "invalid_request")]


def test_names_of_lines(door):
    names = ["x" * 512, "ü" * 512, "a b", "\U0001f600", "<>&\"'\\/", "A", "a", "null", "０"]
    assert loaded(door, as_jsonl([chat_line(n) for n in names])) == names
    bad = [None, 1, 1.5, True, [], {}, "", "x" * 513, "ü" * 513]
    codes = told(door, as_jsonl([{**chat_line("x"), "custom_id": n} for n in bad] + ["{}"]))
    assert codes == [(1, "missing_required_parameter", "custom_id")] + [(n, "invalid_request", "custom_id") for n in range(2, 10)] + [
        (10, "missing_required_parameter", "custom_id")]


def test_names_with_control_characters_come_back_as_they_were(make_stack):
    stack = make_stack()
    names = ["new\nline", "tab\t", "\x7f", "\x1b[31m", "\u2028", "cr\r"]
    batch = wait_for_batch(stack, start(stack, [chat_line(n) for n in names])["id"], "completed")
    answer = stack.http().get(f"/v1/files/{batch['output_file_id']}/content")
    lines = [json.loads(x) for x in answer.body.decode().split("\n") if x]
    assert [x["custom_id"] for x in lines] == names
    results = stack.http().get(f"/v1/batches/{batch['id']}/results")
    assert [json.loads(x)["custom_id"] for x in results.body.decode().split("\n") if x] == names


def test_a_name_with_nul_is_told(door):
    assert told(door, as_jsonl([chat_line("a\x00b"), chat_line("ok")]))[0][0] == 1


def test_a_fault_does_not_hide_a_doubled_name(door):
    assert told(door, as_jsonl([chat_line("a", millrace={"priority": 11}), chat_line("a"), line("b", {}, method="PUT"), chat_line("b")])) == [
        (1, "invalid_request", "body.millrace.priority"), (2, "duplicate_custom_id", "custom_id"), (3, "invalid_method", "method"), (4, "duplicate_custom_id", "custom_id")]


def test_a_line_of_a_hundred_megabytes_is_told_and_the_next_is_read(door):
    content = json.dumps(chat_line("big", "x" * (100 << 20))).encode() + b"\n" + b"bad\n"
    assert told(door, content) == [(1, "line_too_long", None), (2, "invalid_json_line", None)]


def test_types_of_members(door):
    lines = [{**chat_line("a"), "method": m} for m in ("post", "", 1, None)] + [{**chat_line("b"), "url": u} for u in (1, "", "v1/chat/completions",
             "/v1/chat/completions/", "https://api.openai.com/v1/chat/completions", "/v1/moderations", None)] + [
             {**chat_line("c"), "body": b} for b in ([], "x", 1, None, {})]
    got = told(door, as_jsonl([{**x, "custom_id": f"n{i}"} for i, x in enumerate(lines)]))
    assert [g[1:] for g in got] == [("invalid_method", "method")] * 3 + [("missing_required_parameter", "method")] + [("invalid_url", "url")] * 5 + [
        ("url_mismatch", "url"), ("missing_required_parameter", "url")] + [("invalid_request", "body")] * 3 + [("missing_required_parameter", "body")] + [
        ("invalid_request", "body.model")]


def test_unknown_members_of_a_line_are_passed_over(door):
    assert loaded(door, as_jsonl([{**chat_line("a"), "comment": "mine", "priority": 7}])) == ["a"]


def test_what_no_batch_can_be(door):
    file = upload(door, [chat_line("a")])
    for window in ("24h", "1440m", "1d", "90m", "60s"):
        answer = create(door, file, window=window)
        assert answer.status == 200 and answer.json["completion_window"] == window, (window, answer)
    for window in ("", "24", "h", "-1h", "0h", "59s", "24H", " 24h", "24h ", "1.5h", "9" * 31 + "h", 24, None, [], "100000000000000000000d", "1y"):
        answer = create(door, file, window=window)
        assert answer.status == 400 and answer.json["error"]["param"] == "completion_window", (window, answer)
    good = {f"k{i}": "v" * 512 for i in range(16)}
    assert create(door, file, metadata={**good, "k0": "ü" * 512}).json["metadata"]["k0"] == "ü" * 512
    assert create(door, file, metadata={}).status == 200 and create(door, file, metadata=None).status == 200
    for metadata in ({**good, "one": "more"}, {"k" * 65: "v"}, {"k": "v" * 513}, {"k": 1}, {"k": None}, [], "x", {"k": ["v"]}):
        answer = create(door, file, metadata=metadata)
        assert answer.status == 400 and answer.json["error"]["param"].startswith("metadata"), (metadata, answer)
    for extra, param in (({"output_expires_after": {"anchor": "created_at", "seconds": 3599}}, "output_expires_after.seconds"),
                         ({"output_expires_after": {"anchor": "created_at", "seconds": 2592001}}, "output_expires_after.seconds"),
                         ({"output_expires_after": {"anchor": "completed_at", "seconds": 3600}}, "output_expires_after.anchor"),
                         ({"output_expires_after": {"seconds": 3600}}, "output_expires_after.anchor"),
                         ({"output_expires_after": {"anchor": "created_at", "seconds": 3600.5}}, "output_expires_after.seconds"),
                         ({"millrace": {"max_cost_usd": "0"}}, "millrace.max_cost_usd"), ({"millrace": {"max_cost_usd": 1}}, "millrace.max_cost_usd"),
                         ({"millrace": {"dry_run": "yes"}}, "millrace.dry_run"), ({"millrace": {"priority": 10}}, "millrace.priority")):
        answer = create(door, file, **extra)
        assert answer.status == 400 and answer.json["error"]["param"] == param, (extra, answer)


def test_files_that_no_batch_can_read(door):
    other = create_key(door.db, "other", tenant="other")
    file = upload(door, [chat_line("a")])
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    assert door.http(key=other).post("/v1/batches", body).status == 404
    made = create(door, file).json
    for call in (door.http(key=other).get, lambda p: door.http(key=other).post(p + "/cancel"), lambda p: door.http(key=other).post(p + "/retry"),
                 lambda p: door.http(key=other).get(p + "/results")):
        assert call(f"/v1/batches/{made['id']}").status == 404
    assert door.http(key=other).get("/v1/batches").json["data"] == []
    page = door.http(key=other).get(f"/v1/batches?after={made['id']}")
    assert page.status == 200 and page.json["data"] == [], "a foreign id tells nothing"
    spare = upload(door, [chat_line("b")])
    assert door.http().delete(f"/v1/files/{spare}").status == 200 and create(door, spare).status == 404


def test_two_batches_of_one_file_at_once(make_stack):
    stack = make_stack(apis=2)
    file = upload(stack, [chat_line(f"r{i}") for i in range(50)])
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda i: create(stack, file, api=i % 2).json["id"], range(4)))
    assert stack.http().delete(f"/v1/files/{file}").status in (200, 409)
    for batch_id in made:
        done = wait_for_batch(stack, batch_id, "completed")
        assert done["request_counts"] == {"total": 50, "completed": 50, "failed": 0}
    assert stack.http().delete(f"/v1/files/{file}").status == 200


def test_pages_of_batches(door):
    file = upload(door, [chat_line("a")])
    ids = [create(door, file).json["id"] for _ in range(7)]

    def page(query=""):
        answer = door.http().get("/v1/batches" + query)
        assert answer.status == 200 and answer.json["object"] == "list", answer
        got = [b["id"] for b in answer.json["data"]]
        assert answer.json["first_id"] == (got[0] if got else None) and answer.json["last_id"] == (got[-1] if got else None)
        return got, answer.json["has_more"]

    newest = ids[::-1]
    assert page() == (newest, False) and page("?limit=3") == (newest[:3], True) and page("?limit=7") == (newest, False)
    assert page(f"?limit=3&after={newest[2]}") == (newest[3:6], True) and page(f"?limit=3&after={newest[5]}") == (newest[6:], False)
    assert page(f"?after={newest[6]}") == ([], False) and page("?order=asc&limit=2") == (ids[:2], True)
    assert page(f"?order=asc&limit=5&after={ids[1]}") == (ids[2:], False)
    for query in ("limit=0", "limit=101", "limit=x", "order=up", "after=batch_1", "after=file-" + "0" * 32):
        assert door.http().get(f"/v1/batches?{query}").status == 400, query
