# SPDX-License-Identifier: Apache-2.0
"""Batches whose lines stand in a file: created, validated, loaded, run, canceled; by OpenAI's rules and beyond them."""

import json

import pytest

from batchfile import chat_line, create, fetch, upload, wait_for_batch
from stack import wait_until


@pytest.fixture
def stack(make_stack):
    return make_stack()


def test_from_file_to_jobs(stack):
    file_id = upload(stack, [chat_line(f"r{i}", f"say {i}") for i in range(20)])
    created = create(stack, file_id, metadata={"customer": "acme"}, headers={"Idempotency-Key": "b1"})
    assert created.status == 200
    batch = created.json
    assert batch["object"] == "batch" and batch["status"] == "validating" and batch["id"].startswith("batch_")
    assert batch["endpoint"] == "/v1/chat/completions" and batch["completion_window"] == "24h"
    assert batch["input_file_id"] == file_id and batch["metadata"] == {"customer": "acme"}
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert batch["expires_at"] == batch["created_at"] + 86400 and batch["errors"] is None
    assert batch["output_file_id"] is None and batch["error_file_id"] is None and batch["in_progress_at"] is None
    again = create(stack, file_id, metadata={"customer": "acme"}, headers={"Idempotency-Key": "b1"})
    assert again.status == 200 and again.json["id"] == batch["id"] and again.headers["Idempotent-Replayed"] == "true"
    done = wait_for_batch(stack, batch["id"], "completed")
    assert done["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
    assert done["model"] == "default" and done["in_progress_at"] and done["millrace"]["loaded"] == 20
    rows = stack.sql("select custom_id, batch_index, form, priority from job order by batch_index")
    assert rows == [(f"r{i}", i, 1, 4) for i in range(20)]
    assert stack.http().get("/v1/batches").json["data"][0]["id"] == batch["id"]
