# SPDX-License-Identifier: Apache-2.0
"""/v1/files as a client sees it: upload, list, retrieve, content and its ranges, delete, expiry, keys, limits."""

import http.client
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from forms import form, form_headers, part, upload
from pg import sql
from stack import create_key, wait_until

NO_FILE = "file-" + "0123456789abcdef" * 2
DAY = 86400


@pytest.fixture
def door(make_stack):
    """An api without workers."""
    return make_stack(workers=0, simulator=False)


def refused(answer, status, param=None, text=None):
    assert answer.status == status, answer
    error = answer.json["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"], error
    assert error["param"] == param, error
    assert text is None or text in error["message"], error
    assert answer.headers["x-should-retry"] == ("true" if status in (429, 503) else "false")
    return error


def content(http, file, **kw):
    answer = http.get(f"/v1/files/{file['id']}/content", **kw)
    assert answer.status in (200, 206, 304, 416), answer
    return answer


def test_a_file_is_answered_with_its_object_and_its_content_comes_back(door):
    http = door.http()
    data = os.urandom(3 * 524288 + 12345)
    before = int(time.time())
    answer = upload(http, data, name="notes.pdf", content_type="application/pdf")
    assert answer.status == 200, answer
    file = answer.json
    assert re.fullmatch(r"file-[0-9a-f]{32}", file["id"])
    assert before - 2 <= file["created_at"] <= time.time() + 2
    assert file == {"id": file["id"], "object": "file", "bytes": len(data), "created_at": file["created_at"], "expires_at": None,
                    "filename": "notes.pdf", "purpose": "user_data", "status": "processed", "status_details": None}
    assert http.get(f"/v1/files/{file['id']}").json == file
    read = content(http, file)
    assert read.body == data
    assert read.headers["Content-Type"] == "application/pdf"
    assert read.headers["Content-Length"] == str(len(data))
    assert read.headers["Content-Disposition"] == "attachment; filename=\"notes.pdf\"; filename*=UTF-8''notes.pdf"
    head = http.request("HEAD", f"/v1/files/{file['id']}/content")
    assert head.status == 200 and head.headers["Content-Length"] == str(len(data)) and not head.body


@pytest.mark.parametrize("size", [0, 1, 524287, 524288, 524289, 1048576])
def test_files_of_any_size_come_back_as_they_were(door, size):
    data = os.urandom(size)
    file = upload(door.http(), data).json
    assert file["bytes"] == size
    read = content(door.http(), file)
    assert read.status == 200 and read.body == data and read.headers["Content-Type"] == "application/octet-stream"


def test_ranges(door):
    http = door.http()
    data = os.urandom(1200000)
    file = upload(http, data).json
    etag = content(http, file).headers["ETag"]
    for text, first, last in [("bytes=0-0", 0, 0), ("bytes=100-199", 100, 199), ("bytes=524280-524300", 524280, 524300),
                              ("bytes=1199999-", 1199999, 1199999), ("bytes=-5", 1199995, 1199999), ("bytes=-9999999", 0, 1199999),
                              ("bytes=1000000-9999999999999", 1000000, 1199999)]:
        read = content(http, file, headers={"Range": text})
        assert read.status == 206 and read.body == data[first:last + 1], text
        assert read.headers["Content-Range"] == f"bytes {first}-{last}/1200000"
        assert read.headers["ETag"] == etag
    for text in ("bytes=1200000-", "bytes=-0", "bytes=5000000-6000000"):
        read = content(http, file, headers={"Range": text})
        refused(read, 416, "Range")
        assert read.headers["Content-Range"] == "bytes */1200000"
    for text in ("bytes=1-2,5-6", "bytes=9-2", "lines=1-2", "bytes=a-b", "bytes=-"):
        assert content(http, file, headers={"Range": text}).status == 200, text
    assert content(http, file, headers={"Range": "bytes=0-1", "If-Range": etag}).status == 206
    assert content(http, file, headers={"Range": "bytes=0-1", "If-Range": '"another"'}).status == 200
    same = content(http, file, headers={"If-None-Match": etag})
    assert same.status == 304 and not same.body


def test_a_deleted_file_is_gone_with_its_bytes(door):
    http = door.http()
    file = upload(http, os.urandom(600000)).json
    kept = upload(http, b"kept").json
    answer = http.delete(f"/v1/files/{file['id']}")
    assert answer.status == 200 and answer.json == {"id": file["id"], "object": "file", "deleted": True}
    for call in (http.get(f"/v1/files/{file['id']}"), http.get(f"/v1/files/{file['id']}/content"), http.delete(f"/v1/files/{file['id']}")):
        refused(call, 404)
    assert [f["id"] for f in http.get("/v1/files").json["data"]] == [kept["id"]]
    assert sql(door.db, "select state from blob order by state") == [(1,), (2,)]
    assert content(http, kept).body == b"kept"


def test_a_list_has_pages_orders_and_purposes(door):
    http = door.http()
    files = [upload(http, b"x", name=f"{i}", purpose="vision" if i % 2 else "user_data").json for i in range(6)]
    ids = [f["id"] for f in files]
    everything = http.get("/v1/files").json
    assert everything["object"] == "list" and everything["data"] == files[::-1] and everything["has_more"] is False
    assert (everything["first_id"], everything["last_id"]) == (ids[5], ids[0])
    page = http.get("/v1/files?limit=4&order=asc").json
    assert [f["id"] for f in page["data"]] == ids[:4] and page["has_more"] is True
    page = http.get(f"/v1/files?limit=4&order=asc&after={page['last_id']}").json
    assert [f["id"] for f in page["data"]] == ids[4:] and page["has_more"] is False
    assert [f["id"] for f in http.get(f"/v1/files?after={ids[2]}").json["data"]] == [ids[1], ids[0]]
    assert [f["id"] for f in http.get("/v1/files?purpose=vision").json["data"]] == [ids[5], ids[3], ids[1]]
    assert http.get("/v1/files?purpose=evals").json["data"] == []
    assert http.get("/v1/files?limit=10000").status == 200
    for query, param in (("limit=0", "limit"), ("limit=10001", "limit"), ("order=up", "order"), ("after=job_1", "after")):
        refused(http.get(f"/v1/files?{query}"), 400, param)


def test_files_of_another_tenant_do_not_exist(door):
    other = door.http(key=create_key(door.db, "other", tenant="other"))
    file = upload(door.http(), b"secret").json
    for call in (other.get(f"/v1/files/{file['id']}"), other.get(f"/v1/files/{file['id']}/content"), other.delete(f"/v1/files/{file['id']}")):
        refused(call, 404)
    assert other.get("/v1/files").json["data"] == []
    refused(door.http().get(f"/v1/files/{NO_FILE}"), 404)
    refused(door.http().get("/v1/files/file-1"), 404)
    assert content(door.http(), file).body == b"secret"


def test_lives(door):
    http = door.http()
    batch = upload(http, b"{}\n", "batch", name="in.jsonl").json
    assert batch["expires_at"] - batch["created_at"] == 30 * DAY
    hour = upload(http, b"x", **{"expires_after[anchor]": "created_at", "expires_after[seconds]": 3600}).json
    assert hour["expires_at"] - hour["created_at"] == 3600
    sql(door.db, "update file set expires_at = now() - interval '1 second' where id = %s::uuid" % repr(hour["id"][5:]))
    refused(http.get(f"/v1/files/{hour['id']}"), 404)
    refused(http.get(f"/v1/files/{hour['id']}/content"), 404)
    assert [f["id"] for f in http.get("/v1/files").json["data"]] == [batch["id"]]


def test_a_file_that_a_batch_reads_stays(door):
    http = door.http()
    file = upload(http, b"{}\n", "batch", name="in.jsonl").json
    tenant = sql(door.db, "select tenant_id from file")[0][0]
    sql(door.db, f"""insert into batch_file (bucket, id, tenant_id, form, endpoint, input_file_id, window_ms, completion_window, expires_at)
        values (1, gen_random_uuid(), {tenant}, 1, '/v1/chat/completions', '{file["id"][5:]}', 1000, '24h', now() + interval '1 day')""")
    refused(http.delete(f"/v1/files/{file['id']}"), 409, text="batch")
    assert content(http, file).body == b"{}\n"
    sql(door.db, "update batch_file set look_at = null")
    assert http.delete(f"/v1/files/{file['id']}").json["deleted"] is True


def test_an_idempotency_key_makes_one_file(door):
    http = door.http()
    key = {"Idempotency-Key": "upload-1"}
    first = upload(http, b"content", name="a", headers=key)
    again = upload(http, b"content", name="a", headers=key)
    assert again.status == 200 and again.json == first.json
    assert "Idempotent-Replayed" not in first.headers and again.headers["Idempotent-Replayed"] == "true"
    for other in (upload(http, b"another", name="a", headers=key), upload(http, b"content", name="b", headers=key),
                  upload(http, b"content", "vision", name="a", headers=key)):
        refused(other, 422)
    refused(http.post("/v1/uploads", {"purpose": "vision", "filename": "a", "bytes": 7, "mime_type": "text/plain"}, headers=key), 422)
    assert len(http.get("/v1/files").json["data"]) == 1
    assert sql(door.db, "select count(*) from blob where state = 1") == [(1,)]
    assert sql(door.db, "select count(*) from blob where state = 0") == [(0,)]
    http.delete(f"/v1/files/{first.json['id']}")
    refused(upload(http, b"content", name="a", headers=key), 404)


def test_a_key_that_comes_many_times_at_once_makes_one_file(make_stack):
    stack = make_stack(workers=0, simulator=False, apis=2)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: upload(stack.http(i % 2), b"same" * 100000, headers={"Idempotency-Key": "race"}), range(8)))
    assert [a.status for a in answers] == [200] * 8
    assert len({a.json["id"] for a in answers}) == 1
    assert sorted(a.headers.get("Idempotent-Replayed", "") for a in answers) == [""] + ["true"] * 7
    assert sql(stack.db, "select count(*) from file") == [(1,)]
    assert sql(stack.db, "select state, count(*) from blob group by state order by state") == [(1, 1), (2, 7)]


def test_limits_of_size(make_stack):
    stack = make_stack(workers=0, simulator=False, config={"limits": {"file_bytes": "1MiB", "tenant_files_bytes": "1500KiB"}})
    http = stack.http()
    refused(upload(http, b"x" * (1048576 + 1)), 413, "file")
    file = upload(http, b"x" * 1048576).json
    refused(upload(http, b"x" * 600000), 413, text="delete some")
    assert upload(http, b"x" * 1000).status == 200
    refused(http.post("/v1/uploads", {"purpose": "vision", "filename": "a", "bytes": 600000, "mime_type": "text/plain"}), 413, "bytes")
    http.delete(f"/v1/files/{file['id']}")
    assert upload(http, b"x" * 600000).status == 200
    assert sql(stack.db, "select count(*) from blob where state = 0") == [(0,)]


def begin_upload(stack, size):
    """A connection that has sent the first half of an upload of `size` bytes, and the rest of it."""
    address = stack.http()
    connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
    body = form(part("purpose", "user_data"), part("file", b"x" * size, "slow.bin"))
    connection.putrequest("POST", "/v1/files")
    for name, value in form_headers(Authorization=f"Bearer {address.key}", **{"Content-Length": str(len(body))}).items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(body[:len(body) // 2])
    return connection, body[len(body) // 2:]


def test_too_many_files_at_once_are_told_to_come_again(make_stack):
    stack = make_stack(workers=0, simulator=False, config={"limits": {"uploads": 1}})
    connection, rest = begin_upload(stack, 100000)
    wait_until(lambda: upload(stack.http(), b"x").status == 503, what="the second upload is refused")
    answer = upload(stack.http(), b"x")
    refused(answer, 503)
    assert int(answer.headers["Retry-After"]) >= 1
    connection.send(rest)
    assert connection.getresponse().status == 200
    connection.close()
    assert upload(stack.http(), b"x").status == 200


def test_a_client_that_leaves_amid_an_upload_leaves_nothing(door):
    connection, _ = begin_upload(door, 3000000)
    wait_until(lambda: sql(door.db, "select count(*) > 0 from blob_chunk")[0][0], what="bytes are in the database")
    assert door.http().get("/v1/files").json["data"] == []
    connection.close()
    wait_until(lambda: sql(door.db, "select state from blob") == [(2,)], what="they are dropped")
    assert door.http().get("/v1/files").json["data"] == []
