# SPDX-License-Identifier: Apache-2.0
"""What Millrace answered to the tests, kept for a check against its OpenAPI description at the end of the run.

A recorder writes a JSON line per answer of a new shape ({"method", "path", "status", "type", "body"}) into a file of its process in the directory
that $MILLRACE_ANSWERS names; tests/sdk/lib/harness.mjs does the same for the SDKs. check() reads all of them: each has to be of an operation and status
that are described, and valid by that answer's schema (events and lines of a stream by x-millrace-item). With whole=True it also
finds what is described but was never answered.
"""

import json
import os
import re
import threading
from pathlib import Path

VARIABLE = "MILLRACE_ANSWERS"
BODY_MAX = 1 << 20
COMPLAINTS_MAX = 40
EVERYWHERE = (408, 413, 414, 415, 417, 431, *range(500, 600))  # what `default` stands for: any request may meet it
ID = re.compile(r"(?<=[_-])[0-9a-f]{32}(?=/|$)|(?<=/)[0-9a-f]{64}(?=/|$)")
WORD = re.compile(r"[a-z_.]{1,40}$")

lock = threading.Lock()
seen = set()


def shape(value):
    """Answers of one shape differ in numbers, texts and lengths only, not in members, types and words."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{shape(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + "|".join(sorted({shape(v) for v in value})) + "]"
    if isinstance(value, str):
        return value if WORD.match(value) else "text"
    return str(value) if value is None or isinstance(value, bool) else "number"


def record(method, path, status, content_type, body):
    folder = os.environ.get(VARIABLE)
    if not folder:
        return
    path = path.split("?")[0]
    text = body.decode(errors="replace") if body is not None and len(body) < BODY_MAX else ""
    try:
        looks = shape(json.loads(text))
    except ValueError:
        looks = ""
    key = (method, ID.sub("", path), status, content_type, looks)
    with lock:
        if key in seen:
            return
        seen.add(key)
        with open(Path(folder) / f"python-{os.getpid()}.jsonl", "a") as f:
            f.write(json.dumps({"method": method, "path": path, "status": status, "type": content_type or "", "body": text}) + "\n")


class Description:
    """The OpenAPI description, by operation."""

    METHODS = ("get", "post", "put", "patch", "delete")

    def __init__(self, document):
        self.document = document
        self.operations = []  # (method, template, pattern)
        for template, item in document["paths"].items():
            # What stands in braces is as its parameter says; a name may hold slashes.
            ids = {p["name"]: p["schema"].get("pattern", ".+").strip("^$") for p in item.get("parameters", ())}
            text = re.sub(r"\\{(\w+)\\}", lambda m: ids[m[1]], re.escape(template))
            for method in self.METHODS:
                if method in item:
                    self.operations.append((method, template, re.compile(text + "$")))
        # Fixed paths before those with a name in them.
        self.operations.sort(key=lambda o: o[1].count("{"))

    def find(self, method, path):
        method = {"HEAD": "get"}.get(method, method.lower())
        for of, template, pattern in self.operations:
            if of == method and pattern.match(path):
                return method, template
        return None

    def follow(self, node):
        while "$ref" in node:
            target = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def responses(self, operation):
        method, template = operation
        return self.document["paths"][template][method]["responses"]

    def response(self, operation, status):
        """(the status that is described, the response), or None."""
        responses = self.responses(operation)
        found = str(status) if str(status) in responses else "default" if status in EVERYWHERE and "default" in responses else None
        return (found, self.follow(responses[found])) if found else None

    def schema_errors(self, schema, value):
        from jsonschema import Draft202012Validator

        whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": self.document["components"], **schema}
        for error in sorted(Draft202012Validator(whole).iter_errors(value), key=str):
            deepest = error
            while deepest.context:
                deepest = max(deepest.context, key=lambda e: len(e.absolute_path))
            where = '/'.join('*' if isinstance(part, int) else part for part in deepest.absolute_path)
            yield f"{where or 'the whole'}: {deepest.message if len(deepest.message) < 200 else '… ' + deepest.message[-160:]}"


def items_of(kind, text):
    """The JSON values of a stream: the data of events, or lines. A last one that was cut is left out."""
    if kind == "text/event-stream":
        for event in text.split("\n\n")[:-1]:
            data = "\n".join(part[5:].lstrip(" ") for part in event.split("\n") if part.startswith("data:"))
            if data and data != "[DONE]":
                yield json.loads(data)
    else:
        for part in text.split("\n")[:-1]:
            yield json.loads(part)


def complaints_about(description, answer, operation):
    found = description.response(operation, answer["status"])
    if not found:
        yield "this status is not described"
        return
    content = found[1].get("content", {})
    kind = answer["type"].split(";")[0].strip()
    if answer["method"] == "HEAD" or (not kind and not content):
        return
    media = content.get(kind) or content.get("*/*")
    if media is None:
        yield f"the media type {kind!r} is not described"
    elif "x-millrace-item" in media:
        for item in items_of(kind, answer["body"]):
            yield from description.schema_errors(media["x-millrace-item"], item)
    elif kind.endswith("json") and answer["body"]:
        yield from description.schema_errors(media["schema"], json.loads(answer["body"]))


def check(folder, document, whole):
    """A list of complaints."""
    description = Description(document)
    found, produced = {}, set()
    for path in sorted(Path(folder).glob("*.jsonl")):
        for text in path.read_text().splitlines():
            answer = json.loads(text)
            operation = description.find(answer["method"], answer["path"])
            if not operation:
                if answer["method"] != "OPTIONS" and answer["status"] not in (400, 401, 404, 405, 408, 413, 414, 431, 501, 503, 505):
                    found.setdefault(f"{answer['method']} {answer['path']} is not described, and was answered {answer['status']}", 0)
                continue
            status = description.response(operation, answer["status"])
            produced.add((*operation, status[0] if status else None))
            for complaint in complaints_about(description, answer, operation):
                what = f"{operation[0].upper()} {operation[1]} {answer['status']}: {complaint}"
                found[what] = found.get(what, 0) + 1
    if whole:
        for method, template, _ in description.operations:
            for status in description.responses((method, template)):
                if (method, template, status) not in produced and status != "default":
                    found[f"{method.upper()} {template} {status} is described, but no test had it answered"] = 1
    return [f"{what} ({n} ×)" if n > 1 else what for what, n in found.items()]
