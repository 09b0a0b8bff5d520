# SPDX-License-Identifier: Apache-2.0
"""Files when things go wrong: processes that die, clients that vanish or do not read, the sweep, and how much memory it takes."""

import hashlib
import http.client
import socket
from pathlib import Path

from forms import BOUNDARY, form_headers, part, upload
from pg import sql
from proc import wait_until
from test_files import begin_upload, content, refused

MIB = 1 << 20
SWEEP = {"files": {"sweep": "50ms"}}


def age(db, what):
    """Lets the time pass that the sweep waits for."""
    sql(db, f"update blob set written_at = now() - interval '2 hours' where {what}")


def test_an_api_killed_amid_an_upload_leaves_nothing(make_stack):
    stack = make_stack(workers=0, simulator=False, apis=2, config=SWEEP)
    connection, _ = begin_upload(stack, 4 * MIB)
    wait_until(lambda: sql(stack.db, "select count(*) > 1 from blob_chunk")[0][0], what="bytes are in the database")
    stack.apis[0].kill()
    connection.close()
    assert stack.http(1).get("/v1/files").json["data"] == []
    assert sql(stack.db, "select state from blob") == [(0,)]
    age(stack.db, "true")  # an hour without a sign of its writer
    wait_until(lambda: sql(stack.db, "select state from blob") == [(2,)], what="the sweep finds that its writer died")
    age(stack.db, "true")
    wait_until(lambda: sql(stack.db, "select (select count(*) from blob), (select count(*) from blob_chunk)") == [(0, 0)], what="nothing is left")
    stack.apis[0].start()
    assert upload(stack.http(), b"works").status == 200


def test_an_api_told_to_stop_amid_an_upload_ends_well(make_stack):
    stack = make_stack(workers=0, simulator=False, config={"server": {"grace": "300ms"}})
    connection, rest = begin_upload(stack, 3 * MIB)
    wait_until(lambda: sql(stack.db, "select count(*) > 0 from blob_chunk")[0][0], what="bytes are in the database")
    assert stack.apis[0].term() == 0  # with an upload that would go on
    assert rest
    connection.close()
    assert sql(stack.db, "select count(*) from file") == [(0,)]


def test_an_upload_whose_blob_was_swept_is_refused(make_stack):
    stack = make_stack(workers=0, simulator=False, config=SWEEP)
    connection, rest = begin_upload(stack, 3 * MIB)
    wait_until(lambda: sql(stack.db, "select count(*) > 0 from blob_chunk")[0][0], what="bytes are in the database")
    age(stack.db, "true")
    wait_until(lambda: sql(stack.db, "select state from blob") == [(2,)], what="it is taken for abandoned")
    connection.send(rest)
    answer = connection.getresponse()
    assert answer.status == 504 and b"too long" in answer.read()
    connection.close()
    assert stack.http().get("/v1/files").json["data"] == []


def test_the_sweep_frees_what_was_deleted_and_what_has_expired(make_stack):
    stack = make_stack(workers=0, simulator=False, config=SWEEP)
    api = stack.http()
    deleted, expired, kept = (upload(api, bytes([i]) * (20 * MIB if i == 0 else MIB), name=f"{i}").json for i in range(3))
    api.delete(f"/v1/files/{deleted['id']}")
    sql(stack.db, f"update file set expires_at = now() where id = '{expired['id'][5:]}'")
    wait_until(lambda: sql(stack.db, "select count(*) from file") == [(1,)], what="the expired file goes")
    age(stack.db, "state = 2")
    wait_until(lambda: sql(stack.db, "select count(*) from blob") == [(1,)], what="the bytes of both go")
    assert content(api, kept).body == bytes([2]) * MIB
    assert sql(stack.db, "select count(*) from blob_chunk") == [(2,)]
    metrics = stack.admin().get("/metrics").text
    assert 'millrace_files_swept_total{what="files"} 1\n' in metrics and 'millrace_files_swept_total{what="blobs"} 2\n' in metrics


def test_an_expired_file_that_a_batch_reads_stays_until_it_has_ended(make_stack):
    stack = make_stack(workers=0, simulator=False, config=SWEEP)
    api = stack.http()
    file, other = upload(api, b"{}\n", "batch", name="in.jsonl").json, upload(api, b"x").json
    tenant = sql(stack.db, "select tenant_id from file")[0][0]
    sql(stack.db, f"""insert into batch_file (bucket, id, tenant_id, form, endpoint, input_file_id, window_ms, completion_window, expires_at, look_at)
        values (1, gen_random_uuid(), {tenant}, 1, '/v1/chat/completions', '{file["id"][5:]}', 1000, '24h', now() + interval '1 day',
            now() + interval '1 day')""")
    sql(stack.db, "update file set expires_at = now()")
    wait_until(lambda: sql(stack.db, "select id from file") == [(_uuid(file),)], what="the other file goes, this one stays")
    sql(stack.db, "update batch_file set look_at = null")
    wait_until(lambda: sql(stack.db, "select count(*) from file") == [(0,)], what="it goes, too")
    refused(api.get(f"/v1/files/{other['id']}"), 404)


def _uuid(file):
    h = file["id"][5:]
    return "-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:]))


def test_a_database_that_is_away_holds_an_upload_back(make_pg, make_stack):
    pg = make_pg()
    keys = pg.make_template()
    stack = make_stack(workers=0, simulator=False, db=pg.new_database(), keys=keys)
    connection, rest = begin_upload(stack, 6 * MIB)
    wait_until(lambda: sql(stack.db, "select count(*) > 0 from blob_chunk")[0][0], what="bytes are in the database")
    pg.stop("immediate")
    connection.send(rest[:MIB])
    pg.start()
    connection.send(rest[MIB:])
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()
    file = stack.http().get("/v1/files").json["data"][0]
    assert content(stack.http(), file).body == b"x" * 6 * MIB


def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_memory_does_not_grow_with_the_file(make_stack):
    size, bound = 96 * MIB, 40 * MIB
    stack = make_stack(workers=0, simulator=False, env={"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=4"})
    api, pid = stack.http(), stack.apis[0].pid
    upload(api, b"x" * 2 * MIB)  # buffers that stay
    before, most = resident(pid), 0
    block = bytes(range(256)) * 1024
    head, tail = part("purpose", "user_data") + part("file", b"", "big.bin")[:-2], f"\r\n--{BOUNDARY}--\r\n".encode()
    digest = hashlib.sha256()
    connection = http.client.HTTPConnection(api.host, api.port, timeout=60)
    connection.putrequest("POST", "/v1/files")
    length = len(head) + size + len(tail)
    for name, value in form_headers(Authorization=f"Bearer {api.key}", **{"Content-Length": str(length)}).items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(head)
    for _ in range(size // len(block)):
        connection.send(block)
        digest.update(block)
        most = max(most, resident(pid))
    connection.send(tail)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    file = api.get("/v1/files?limit=1").json["data"][0]
    assert file["bytes"] == size
    connection.request("GET", f"/v1/files/{file['id']}/content", headers={"Authorization": f"Bearer {api.key}"})
    answer, read = connection.getresponse(), hashlib.sha256()
    while block := answer.read(MIB):
        read.update(block)
        most = max(most, resident(pid))
    connection.close()
    assert read.digest() == digest.digest()
    assert most - before < bound, f"{(most - before) / MIB:.0f} MiB more"


def test_a_client_that_reads_slowly_holds_back_the_reading(make_stack):
    stack = make_stack(workers=0, simulator=False, env={"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=4"})
    api = stack.http()
    file = upload(api, b"x" * 40 * MIB).json

    def sent():
        found = [line for line in stack.admin().get("/metrics").text.splitlines() if line.startswith('millrace_file_bytes_total{direction="out"}')]
        return int(found[0].split()[1]) if found else 0

    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(30)
        sock.connect((api.host, api.port))
        sock.sendall(f"GET /v1/files/{file['id']}/content HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n\r\n".encode())
        wait_until(lambda: sent() > 0, what="it begins")
        total = len(sock.recv(65536))
        held = wait_until(lambda: (a := sent()) == sent() and a, what="it stops")
        assert held < 16 * MIB  # what the sockets took, and a piece
        assert content(api, file, headers={"Range": "bytes=0-9"}).body == b"x" * 10  # others are not held up
        while total < 40 * MIB:
            total += len(sock.recv(MIB))
        assert sent() >= 40 * MIB


def test_a_file_deleted_under_a_reader_cuts_the_answer(make_stack):
    stack = make_stack(workers=0, simulator=False)
    api = stack.http()
    file = upload(api, b"x" * 40 * MIB).json
    connection, answer = api.open("GET", f"/v1/files/{file['id']}/content")
    assert answer.read(1000) == b"x" * 1000
    api.delete(f"/v1/files/{file['id']}")
    sql(stack.db, "delete from blob_chunk")  # as the sweep does by and by
    try:
        rest = answer.read()
        assert len(rest) < 40 * MIB - 1000
    except http.client.IncompleteRead:
        pass
    connection.close()
