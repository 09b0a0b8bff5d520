# SPDX-License-Identifier: Apache-2.0
"""Batches from files, for tests: lines, upload, create, and the wait for a status."""

import json

import forms
from stack import wait_until

TERMINAL = ("completed", "failed", "expired", "cancelled")


def line(custom_id, body, url="/v1/chat/completions", **over):
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body, **over}


def chat_line(custom_id, text="hello", model="default", **body):
    return line(custom_id, {"model": model, "messages": [{"role": "user", "content": text}], **body})


def as_jsonl(lines):
    """lines: objects, or texts as they are."""
    return b"".join((x if isinstance(x, str) else json.dumps(x)).encode() + b"\n" for x in lines)


def upload(stack, lines, purpose="batch", api=0):
    """The file's id. lines: as for as_jsonl, or bytes."""
    content = lines if isinstance(lines, bytes) else as_jsonl(lines)
    answer = forms.upload(stack.http(api), content, purpose, name="input.jsonl")
    assert answer.status == 200, answer
    return answer.json["id"]


def create(stack, file_id, endpoint="/v1/chat/completions", window="24h", headers=None, api=0, **fields):
    body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": window, **fields}
    return stack.http(api).post("/v1/batches", body, headers=headers)


def start(stack, lines, **how):
    """Uploads and creates: the batch."""
    answer = create(stack, upload(stack, lines), **how)
    assert answer.status == 200, answer
    return answer.json


def fetch(stack, batch_id, api=0):
    answer = stack.http(api).get(f"/v1/batches/{batch_id}")
    assert answer.status == 200, answer
    return answer.json


def wait_for_batch(stack, batch_id, status=TERMINAL, limit=60, api=0):
    """Polls until it has that status (or one of them); fails at once when it ended otherwise."""
    wanted = (status,) if isinstance(status, str) else tuple(status)

    def look():
        batch = fetch(stack, batch_id, api)
        if batch["status"] in wanted:
            return batch
        assert batch["status"] not in TERMINAL, f"{batch_id} ended {batch['status']}: {batch}"
        return None

    return wait_until(look, limit, f"{batch_id} being {' or '.join(wanted)}")
