# SPDX-License-Identifier: Apache-2.0
"""Forms of POST /v1/files as they come over the wire: cut anywhere, in any order, broken in every way."""

import http.client
import json
import socket
import time

import pytest

from forms import BOUNDARY, form, form_headers, part, upload
from pg import sql
from proc import wait_until
from test_files import content, refused

END = f"--{BOUNDARY}--\r\n".encode()
FILE = part("file", b"{}\n", "in.jsonl", "application/jsonl")
PURPOSE = part("purpose", "batch")


@pytest.fixture
def door(make_stack):
    return make_stack(workers=0, simulator=False)


def post(door, body, headers=None):
    return door.http().post("/v1/files", body, headers=form_headers() if headers is None else headers)


def head(door, length, content_type=None, more=""):
    return (f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {door.keys['api_key']}\r\n"
            f"Content-Type: {content_type or form_headers()['Content-Type']}\r\n{more}"
            + (f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked") + "\r\n\r\n").encode()


def connected(door):
    address = door.http()
    sock = socket.create_connection((address.host, address.port), timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def answer_of(sock):
    response = http.client.HTTPResponse(sock)
    response.begin()
    return response.status, response.headers, response.read()


def test_a_boundary_may_be_split_over_packets(door):
    data = b"a\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n-\r\n"
    body = form(PURPOSE, part("file", data, "in.jsonl"))
    first = body.index(data)
    with connected(door) as sock:
        for cut in range(first - 3, len(body), 3):  # in what only looks like a boundary, and in the last one
            sock.sendall(head(door, len(body)) + body[:cut])
            time.sleep(0.002)
            sock.sendall(body[cut:])
            status, _, text = answer_of(sock)
            assert status == 200 and json.loads(text)["bytes"] == len(data), (cut, text)
    newest = door.http().get("/v1/files?limit=1").json["data"][0]
    assert content(door.http(), newest).body == data


def test_a_chunked_body_of_single_bytes(door):
    body = form(PURPOSE, FILE)
    with connected(door) as sock:
        sock.sendall(head(door, None))
        for i in range(0, len(body), 20):
            piece = body[i:i + 20]
            sock.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        sock.sendall(b"0\r\n\r\n")
        status, _, text = answer_of(sock)
    assert status == 200 and json.loads(text)["bytes"] == 3


def test_the_order_of_parts_does_not_matter(door):
    life = [part("expires_after[anchor]", "created_at"), part("expires_after[seconds]", "3600")]
    for parts in ([FILE, PURPOSE, *life], [life[1], FILE, life[0], PURPOSE], [*life, PURPOSE, FILE]):
        file = post(door, form(*parts)).json
        assert file["purpose"] == "batch" and file["expires_at"] - file["created_at"] == 3600, file
    assert sql(door.db, "select count(*) from file") == [(3,)]


@pytest.mark.parametrize("parts, status, param, text", [
    ([PURPOSE], 400, "file", "no part `file`"),
    ([FILE], 400, "purpose", "no field purpose"),
    ([PURPOSE, FILE, FILE], 400, "file", "more than one"),
    ([PURPOSE, PURPOSE, FILE], 400, "purpose", "twice"),
    ([PURPOSE, part("file", b"{}")], 400, "file", "no filename"),
    ([PURPOSE, part("file", b"{}", "")], 400, "file", "no filename"),
    ([PURPOSE, part("file", b"{}", "dir/")], 400, "filename", "1 to 512"),
    ([PURPOSE, part("file", b"{}", "x" * 513)], 400, "filename", "1 to 512"),
    ([part("purpose", "batch_output"), FILE], 400, "purpose", "one of"),
    ([part("purpose", "Batch"), FILE], 400, "purpose", "one of"),
    ([part("purpose", "x" * 2000), FILE], 400, None, "1024"),
    ([FILE, PURPOSE, part("color", "red")], 400, "color", "no such field"),
    ([part("color", "red"), PURPOSE, FILE], 400, "color", "no such field"),
    ([PURPOSE, part("file", b"{}", "in.json")], 400, None, "Invalid file format for Batch API. Must be .jsonl"),
    ([part("file", b"{}", "in.json"), PURPOSE], 400, None, "Invalid file format for Batch API. Must be .jsonl"),
    ([PURPOSE, part("expires_after[seconds]", "3600"), FILE], 400, "expires_after[anchor]", "both"),
    ([PURPOSE, part("expires_after[anchor]", "created_at"), FILE], 400, "expires_after[seconds]", "both"),
    ([part("expires_after[anchor]", "now"), PURPOSE, FILE], 400, "expires_after[anchor]", "created_at"),
    ([part("expires_after[seconds]", "3599"), PURPOSE, FILE], 400, "expires_after[seconds]", "3600 to 2592000"),
    ([part("expires_after[seconds]", "2592001"), PURPOSE, FILE], 400, "expires_after[seconds]", "3600 to 2592000"),
    ([part("expires_after[seconds]", "an hour"), PURPOSE, FILE], 400, "expires_after[seconds]", "number"),
    ([PURPOSE, part("file", b"{}", "a\r\nb.jsonl")], 400, None, "line's end"),
    ([part("purpose", "batch", None, "a\tb"), FILE], 400, None, "ASCII"),
    ([part("x" * 5000, "1")], 413, None, "4096"),
])
def test_what_a_form_may_not_have(door, parts, status, param, text):
    refused(post(door, form(*parts)), status, param, text)
    assert door.http().get("/v1/files").json["data"] == []
    wait_until(lambda: sql(door.db, "select count(*) from blob where state <> 2") == [(0,)], what="nothing is left")


def test_ten_thousand_parts_are_refused(door):
    refused(post(door, form(*[part("purpose", "batch")] * 10000)), 400, "purpose")  # at the second already
    few = b"".join([f"--{BOUNDARY}\r\n\r\n".encode()] * 10000)
    refused(post(door, few + END), 400, None, "Content-Disposition")


def test_a_form_without_its_end_says_what_is_missing(door):
    whole = form(PURPOSE, FILE)
    for cut, text in ((0, "before its first boundary"), (10, "before its first boundary"), (60, "headers of part 1"),
                      (len(PURPOSE) - 4, "data of part 1"), (len(PURPOSE + FILE), "data of part 2"), (len(whole) - 3, "dashes")):
        refused(post(door, whole[:cut]), 400, None, text)
    assert sql(door.db, "select count(*) from file") == [(0,)]


def test_other_media_types_are_415(door):
    for given in ("application/json", "multipart/mixed; boundary=x", "application/x-www-form-urlencoded", "text/plain"):
        answer = post(door, b"{}", {"Content-Type": given})
        refused(answer, 415)
        assert answer.headers["Accept"] == "multipart/form-data"
    refused(post(door, b"{}", {}), 415)
    for boundary in ("", "; boundary=", "; boundary=" + "x" * 71, "; boundary=a@b"):
        refused(post(door, b"", {"Content-Type": "multipart/form-data" + boundary}), 400, None, "boundary" if boundary != "; boundary=" else "well-formed")


def test_names(door):
    http_ = door.http()
    for given, name, shown in (("dir/sub\\a.txt", "a.txt", "a.txt"), ("na\u00efve \u2603.txt", "na\u00efve \u2603.txt", "na__ve ___.txt"),
                               ('q\\"uote.txt', 'q"uote.txt', "q_uote.txt")):
        file = upload(http_, b"x", name=given).json
        assert file["filename"] == name
        disposition = content(http_, file).headers["Content-Disposition"]
        assert disposition.startswith(f'attachment; filename="{shown}"; filename*=UTF-8\'\''), disposition
        assert "\n" not in disposition
    raw = (f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x"; filename*=UTF-8\'\'%e2%98%83.jsonl\r\n\r\n{{}}\r\n').encode()
    assert post(door, form(raw, PURPOSE)).json["filename"] == "\u2603.jsonl"


def test_a_refusal_does_not_wait_for_the_rest_of_the_body(door):
    body = form(part("purpose", "nonsense"), FILE)
    with connected(door) as sock:
        sock.sendall(head(door, len(body) + 100000000) + body)
        status, headers, text = answer_of(sock)
    assert status == 400 and "purpose" in json.loads(text)["error"]["message"] and headers["Connection"] == "close"
    with connected(door) as sock:
        sock.sendall(head(door, 1 << 40))
        assert answer_of(sock)[0] == 413


def test_empty_bodies_are_forms_without_an_end_and_batches_without_a_job(door):
    for path, content_type in (("/v1/files", form_headers()["Content-Type"]), ("/v1/batches", "application/x-ndjson")):
        with connected(door) as sock:  # its key is not known yet to this process
            sock.sendall(head(door, 0, content_type).replace(b"/v1/files", path.encode()))
            assert answer_of(sock)[0] == 400
        door.apis[0].kill()
        door.apis[0].start()


def test_the_key_is_judged_before_the_body(door):
    answer = door.http().post("/v1/files", form(PURPOSE, FILE), headers=form_headers(), key="mr_0123456789_wrong")
    refused(answer, 401)
