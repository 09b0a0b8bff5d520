# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI description is of this program: its routes are those of the router, both ways, and what it says of each (keys, ids, bodies) is so. That
answers are valid by its schemas is checked at the end of a whole run (tests/lib/answers.py), for which these tests produce the refusals.
"""

import json
import re
import subprocess

import pytest

from forms import form, form_headers, part
from proc import BIN, REPO
from stack import Http

NOBODYS = "0123456789abcdef0123456789abcdef"
PREFIXES = {"job": "job_", "batch": "batch_", "file": "file-", "upload": "upload_", "response": "resp_", "completion": "chatcmpl-",
            "msgbatch": "msgbatch_", "key": NOBODYS}


def described():
    return json.loads(subprocess.run([BIN, "docs", "openapi"], check=True, capture_output=True, text=True).stdout)


def operations(document):
    """(METHOD, template, operation)"""
    return [(method.upper(), template, item[method]) for template, item in document["paths"].items()
            for method in ("get", "post", "put", "patch", "delete") if method in item]


def path_of(template):
    """The path of an object that nobody has."""
    return re.sub(r"{(\w+)}", lambda m: PREFIXES.get(m[1], "") + NOBODYS, template)


@pytest.fixture(scope="module")
def document():
    return described()


def test_the_routes_are_those_of_the_router(document):
    routes = set(re.findall(r'\{ HTTP_(\w+), "([^"]+)"', (REPO / "api/router.c").read_text()))
    assert {(method, template) for method, template, _ in operations(document)} == routes


def test_keys_are_wanted_where_the_router_wants_them(document):
    keys = {(method, path): key for method, path, key in re.findall(r'\{ HTTP_(\w+), "([^"]+)", KEY_(\w+)', (REPO / "api/router.c").read_text())}
    for method, template, operation in operations(document):
        wanted = "NONE" if operation.get("security") == [] else "ADMIN" if "403" in operation["responses"] else "ANY"
        assert keys[method, template] == wanted, (method, template)


def test_operations_have_names_of_their_own_and_all_path_parameters(document):
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    for template, item in document["paths"].items():
        assert re.findall(r"{(\w+)}", template) == [p["name"] for p in item.get("parameters", ())]


def test_every_component_is_used(document):
    text = json.dumps(document)
    for kind in ("schemas", "responses", "parameters", "headers"):
        unused = [name for name in document["components"][kind] if f'"#/components/{kind}/{name}"' not in text]
        assert unused == []


def test_it_is_served_without_a_key_and_has_an_etag(stack, document):
    anybody = Http(stack.url, kept=True)
    answer = anybody.get("/openapi.json")
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/json"
    assert answer.json == document
    again = anybody.get("/openapi.json", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert anybody.request("HEAD", "/openapi.json").headers["ETag"] == answer.headers["ETag"]


def test_the_process_answers_for_itself_without_a_key_and_to_the_admin(stack):
    anybody = Http(stack.url, kept=True)
    assert [anybody.get(path).status for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 401]
    assert stack.admin().get("/metrics").status == 200


def body_of(operation):
    """A body that gets past the first look, where the operation takes one."""
    content = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in content:
        return b'--b\r\nContent-Disposition: form-data; name="data"; filename="x"\r\n\r\nx\r\n--b--\r\n', "multipart/form-data; boundary=b"
    if not content:
        return None, None
    return json.dumps(content["application/json"].get("example", {})).encode(), "application/json"


def test_every_operation_that_wants_a_key_refuses_without_one_and_the_admins_refuse_others(stack, document):
    anybody = Http(stack.url, kept=True)
    for method, template, operation in operations(document):
        body, kind = body_of(operation)
        if "401" in operation["responses"]:
            answer = anybody.request(method, path_of(template), body, headers={"Content-Type": kind} if kind else None)
            assert answer.status == 401, (method, template, answer)
        if "403" in operation["responses"]:
            answer = stack.http().request(method, path_of(template))
            assert answer.status == 403, (method, template, answer)


def test_an_object_that_is_not_there_is_404_wherever_an_id_stands(make_stack, document):
    stack = make_stack(config={"models": None})  # else any name is a model
    for method, template, operation in operations(document):
        if "{" not in template:
            continue
        http = stack.admin() if "403" in operation["responses"] else stack.http()
        body, kind = body_of(operation)
        answer = http.request(method, path_of(template), body, headers={"Content-Type": kind} if kind else None)
        assert "404" in operation["responses"] and answer.status == 404, (method, template, answer)


def test_a_model_that_nobody_has_is_404_wherever_one_is_asked(make_stack):
    stack = make_stack(config={"models": None})
    said = {"model": "nobody", "messages": [{"role": "user", "content": "x"}]}
    asked = {"/v1/chat/completions": said, "/v1/completions": {"model": "nobody", "prompt": "x"}, "/v1/embeddings": {"model": "nobody", "input": "x"},
             "/v1/messages": {**said, "max_tokens": 5}, "/v1/responses": {"model": "nobody", "input": "x"}}
    assert {path: stack.http().post(path, body).status for path, body in asked.items()} == dict.fromkeys(asked, 404)


def test_what_is_not_json_is_400_and_another_media_type_415_wherever_json_is_taken(stack, document):
    for method, template, operation in operations(document):
        if "application/json" not in operation.get("requestBody", {}).get("content", {}):
            continue
        http = stack.admin() if "403" in operation["responses"] else stack.http()
        broken = http.request(method, path_of(template), b"{", headers={"Content-Type": "application/json"})
        assert "400" in operation["responses"] and broken.status == 400, (method, template, broken)
        other = http.request(method, path_of(template), b"x", headers={"Content-Type": "text/plain"})
        assert other.status == 415, (method, template, other)


def test_parameters_of_lists_are_judged(stack, document):
    for method, template, operation in operations(document):
        names = [p.get("name") or p["$ref"].rsplit("/", 1)[1] for p in operation.get("parameters", ())]
        if method == "GET" and "limit" in names:
            http = stack.admin() if "403" in operation["responses"] else stack.http()
            answer = http.get(path_of(template) + "?limit=nonsense")
            assert "400" in operation["responses"] and answer.status == 400, (template, answer)


def test_a_wait_that_is_no_number_and_a_part_without_data_are_400(stack):
    assert stack.http().get(path_of("/v1/batches/{batch}") + "?wait=long").status == 400
    up = stack.http().post("/v1/uploads", {"filename": "a.txt", "purpose": "user_data", "bytes": 1, "mime_type": "text/plain"}).json
    assert stack.http().post(f"/v1/uploads/{up['id']}/parts", form(part("other", b"x")), headers=form_headers()).status == 400
