# SPDX-License-Identifier: Apache-2.0
"""/v1/files as a client sees it: upload, list, retrieve, content and its ranges, delete, expiry, keys, limits."""

import os
import re
import time

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
