# SPDX-License-Identifier: Apache-2.0
"""/v1/uploads as a client sees it: a file that comes in parts."""

import hashlib
import http.client as http_client
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from forms import form, form_headers, part
from pg import sql
from stack import create_key, wait_until
from test_files import content, refused

NO_UPLOAD = "upload_" + "0123456789abcdef" * 2


@pytest.fixture
def door(make_stack):
    return make_stack(workers=0, simulator=False, config={"files": {"sweep": "50ms"}})


def announce(http, size, headers=None, **over):
    body = {"purpose": "user_data", "filename": "movie.mp4", "bytes": size, "mime_type": "video/mp4", **over}
    return http.post("/v1/uploads", body, headers=headers)


def begun(http, size, **over):
    answer = announce(http, size, **over)
    assert answer.status == 200, answer
    return answer.json


def send_part(http, up, data, name="data"):
    return http.post(f"/v1/uploads/{up['id']}/parts", form(part(name, data, "blob", "application/octet-stream")), headers=form_headers())


def complete(http, up, parts, **more):
    return http.post(f"/v1/uploads/{up['id']}/complete", {"part_ids": [p["id"] for p in parts], **more})


def test_parts_become_a_file_in_the_order_that_complete_names(door):
    http = door.http()
    pieces = [os.urandom(n) for n in (700000, 1, 524288, 90000)]
    whole = b"".join(pieces)
    up = begun(http, len(whole))
    assert re.fullmatch(r"upload_[0-9a-f]{32}", up["id"])
    assert up == {"id": up["id"], "object": "upload", "bytes": len(whole), "created_at": up["created_at"], "filename": "movie.mp4",
                  "purpose": "user_data", "status": "pending", "expires_at": up["created_at"] + 3600, "file": None}
    with ThreadPoolExecutor() as pool:  # at the same time
        parts = [a.json for a in pool.map(lambda data: send_part(http, up, data), pieces)]
    for p in parts:
        assert set(p) == {"id", "object", "created_at", "upload_id"} and p["object"] == "upload.part" and p["upload_id"] == up["id"]
        assert re.fullmatch(r"part_[0-9a-f]{32}", p["id"])
    answer = complete(http, up, parts, md5=hashlib.md5(whole).hexdigest())
    assert answer.status == 200, answer
    done = answer.json
    file = done["file"]
    assert done == {**up, "status": "completed", "file": file}
    assert file == {"id": file["id"], "object": "file", "bytes": len(whole), "created_at": file["created_at"], "expires_at": None,
                    "filename": "movie.mp4", "purpose": "user_data", "status": "processed", "status_details": None}
    read = content(http, file)
    assert read.body == whole and read.headers["Content-Type"] == "video/mp4"
    assert content(http, file, headers={"Range": "bytes=699999-700001"}).body == whole[699999:700002]
    assert complete(http, up, parts).json == done  # a repeat
    refused(send_part(http, up, b"x"), 409, text="completed")
    refused(http.post(f"/v1/uploads/{up['id']}/cancel"), 409, text="completed")
    assert http.delete(f"/v1/files/{file['id']}").status == 200
    assert sql(door.db, "select state, count(*) from blob group by state") == [(2, 4)]


def test_what_complete_refuses_can_be_mended(door):
    http = door.http()
    up = begun(http, 6)
    a, b = send_part(http, up, b"abc").json, send_part(http, up, b"def").json
    refused(complete(http, up, [a]), 400, "part_ids", "3 bytes")
    refused(complete(http, up, [a, a]), 400, "part_ids[1]", "twice")
    refused(complete(http, up, [a, {"id": "part_" + "0" * 32}]), 400, "part_ids[1]", "no such part")
    refused(complete(http, up, [a, {"id": 7}]), 400, "part_ids[1]")
    refused(complete(http, up, []), 400, "part_ids")
    refused(http.post(f"/v1/uploads/{up['id']}/complete", {}), 400, "part_ids")
    refused(complete(http, up, [b, a], md5=hashlib.md5(b"abcdef").hexdigest()), 400, "md5")
    refused(complete(http, up, [b, a], md5="x"), 400, "md5")
    refused(send_part(http, up, b"g"), 409, text="more bytes than it announced")
    assert content(http, complete(http, up, [b, a], md5=hashlib.md5(b"defabc").hexdigest().upper()).json["file"]).body == b"defabc"


def test_parts_that_complete_does_not_name_are_dropped(door):
    http = door.http()
    up = begun(http, 4, expires_after={"anchor": "created_at", "seconds": 7200})
    a, b = send_part(http, up, b"aa").json, send_part(http, up, b"bb").json
    up2 = begun(http, 2)
    c = send_part(http, up2, b"cc").json
    refused(complete(http, up, [a, c]), 400, "part_ids[1]", "no such part")
    done = complete(http, up, [a, b]).json
    assert done["file"]["expires_at"] - done["file"]["created_at"] == 7200
    up3 = begun(http, 4)
    parts = [send_part(http, up3, data).json for data in (b"11", b"22")]
    sql(door.db, f"update upload set bytes = 2 where id = '{up3['id'][7:]}'")
    complete(http, up3, parts[1:])
    assert sql(door.db, "select count(*) from blob where state = 2") == [(1,)]
    assert sql(door.db, "select count(*) from upload_part") == [(1,)]  # of up2


def test_what_cannot_be_announced(door):
    http = door.http()
    for over, param in (({"purpose": "batch_output"}, "purpose"), ({"purpose": None}, "purpose"), ({"filename": ""}, "filename"),
                        ({"filename": "a\nb"}, "filename"), ({"bytes": 0}, "bytes"), ({"bytes": "7"}, "bytes"), ({"bytes": 1 << 60}, "bytes"),
                        ({"mime_type": ""}, "mime_type"), ({"mime_type": "a\tb"}, "mime_type"), ({"purpose": "batch"}, None),
                        ({"expires_after": {"anchor": "x", "seconds": 3600}}, "expires_after.anchor"),
                        ({"expires_after": {"anchor": "created_at", "seconds": 60}}, "expires_after.seconds"),
                        ({"expires_after": {"anchor": "created_at"}}, "expires_after.seconds")):
        answer = announce(http, 5, **over)
        refused(answer, 413 if over.get("bytes") == 1 << 60 else 400, param)
    for missing in ("purpose", "filename", "bytes", "mime_type"):
        body = {"purpose": "user_data", "filename": "a", "bytes": 5, "mime_type": "text/plain"}
        del body[missing]
        refused(http.post("/v1/uploads", body), 400, missing)
    assert announce(http, 5, something="else").status == 200  # unknown fields are ignored, as OpenAI does
    assert begun(http, 5, filename="dir/in.jsonl", purpose="batch")["filename"] == "in.jsonl"
    refused(announce(http, 300 << 20, filename="in.jsonl", purpose="batch"), 413, "file")


def test_a_key_makes_one_upload(door):
    http = door.http()
    first = announce(http, 5, headers={"Idempotency-Key": "k"})
    again = announce(http, 5, headers={"Idempotency-Key": "k"})
    assert again.json == first.json and again.headers["Idempotent-Replayed"] == "true"
    refused(announce(http, 6, headers={"Idempotency-Key": "k"}), 422)
    assert sql(door.db, "select count(*) from upload") == [(1,)]


def test_a_cancelled_upload_takes_nothing_more(door):
    http = door.http()
    up = begun(http, 6)
    a = send_part(http, up, b"abc").json
    for _ in range(2):
        answer = http.post(f"/v1/uploads/{up['id']}/cancel")
        assert answer.status == 200 and answer.json == {**up, "status": "cancelled"}
    refused(send_part(http, up, b"def"), 409, text="cancelled")
    refused(complete(http, up, [a]), 409, text="cancelled")
    assert sql(door.db, "select state from blob") == [(2,)]


def test_uploads_of_nobody_and_of_others_do_not_exist(door):
    http, other = door.http(), door.http(key=create_key(door.db, "other", tenant="other"))
    up = begun(http, 3)
    a = send_part(http, up, b"abc").json
    for who, which in ((other, up), (http, {"id": NO_UPLOAD})):
        refused(send_part(who, which, b"x"), 404)
        refused(complete(who, which, [a]), 404)
        refused(who.post(f"/v1/uploads/{which['id']}/cancel"), 404)
    assert complete(http, up, [a]).status == 200


def test_an_upload_past_its_hour_is_expired_and_swept(door):
    http = door.http()
    up = begun(http, 600000)
    a = send_part(http, up, os.urandom(600000)).json
    sql(door.db, "update upload set expires_at = now() + interval '1 minute'")
    done = begun(http, 1)
    complete(http, done, [send_part(http, done, b"x").json])
    sql(door.db, "update upload set expires_at = now() - interval '1 second'")
    answer = send_part(http, up, b"x")
    assert answer.status in (404, 409), answer  # expired, or swept already
    assert complete(http, up, [a]).status in (404, 409)
    wait_until(lambda: sql(door.db, "select count(*) from upload_part") == [(0,)], what="the parts go")
    sql(door.db, "update blob set written_at = now() - interval '1 hour' where state = 2")
    wait_until(lambda: sql(door.db, "select count(*) from blob_chunk") == [(1,)], what="the bytes go, but not those of the file")
    assert sql(door.db, "select status from upload") == [(1,)]  # kept for a day
    sql(door.db, "update upload set expires_at = now() - interval '25 hours'")
    wait_until(lambda: sql(door.db, "select count(*) from upload") == [(0,)], what="the completed upload goes")
    assert len(http.get("/v1/files").json["data"]) == 1


def test_completing_at_the_same_time_makes_one_file(make_stack):
    """Repeats find the file; whoever names other parts, or another order, is told that it is too late."""
    stack = make_stack(workers=0, simulator=False, apis=2)
    http = stack.http()
    up = begun(http, 200)
    a, b = (send_part(http, up, c * 100).json for c in (b"a", b"b"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: (i % 2, complete(stack.http(i // 4), up, [a, b] if i % 2 else [b, a])), range(8)))
    won = {order for order, answer in answers if answer.status == 200}
    assert len(won) == 1 and all(answer.status == (200 if order in won else 409) for order, answer in answers)
    file, = {answer.json["file"]["id"] for _, answer in answers if answer.status == 200}
    assert content(http, {"id": file}).body == (b"a" * 100 + b"b" * 100 if won == {1} else b"b" * 100 + b"a" * 100)
    refused(complete(http, up, [a]), 409, text="completed")
    assert stack.sql("select count(*) from file")[0][0] == 1
    http.delete(f"/v1/files/{file}")
    gone = complete(http, up, [a, b])
    assert gone.status == 200 and gone.json["status"] == "completed" and gone.json["file"] is None


def test_a_part_that_arrives_while_its_upload_ends_is_refused_and_dropped(door):
    http = door.http()
    for end in (lambda up, kept: http.post(f"/v1/uploads/{up['id']}/cancel"), lambda up, kept: complete(http, up, [kept])):
        up = begun(http, 100)
        kept = send_part(http, up, b"k" * 100).json
        late = http_client.HTTPConnection(http.host, http.port, timeout=30)
        body = form(part("data", b"x" * 90, "blob"))
        late.putrequest("POST", f"/v1/uploads/{up['id']}/parts")
        for name, value in form_headers(Authorization=f"Bearer {http.key}", **{"Content-Length": str(len(body))}).items():
            late.putheader(name, value)
        late.endheaders()
        late.send(body[:-20])
        wait_until(lambda: door.sql("select count(*) from blob where state = 0")[0][0] == 1, 10, "the part beginning")
        assert end(up, kept).status == 200
        late.send(body[-20:])
        assert late.getresponse().status == 409
        late.close()
        wait_until(lambda: door.sql("select count(*) from blob where state = 0")[0][0] == 0, 10, "the part being dropped")
        assert door.sql("select count(*) from upload_part")[0][0] == 0 or door.sql("select count(*) from upload where status = 0")[0][0] == 0
