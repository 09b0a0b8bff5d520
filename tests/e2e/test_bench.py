# SPDX-License-Identifier: Apache-2.0
"""The programs of tests/bench work on today's statements and configuration: briefly, for what they do and not for how fast."""

import json
import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pg import sql
from proc import BIN

BENCH = Path(BIN).parent / "bench"


def tool(name, *args, limit=60):
    env = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}  # they leave their memory to the end of the process
    done = subprocess.run([BENCH / name, *map(str, args)], capture_output=True, text=True, timeout=limit, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_floor_accepts_claims_and_completes_with_the_systems_own_statements(db):
    assert tool("floor", db, "life", 300, 500)["per_s"] > 0
    assert sql(db, "select count(*), min(status), max(status) from outcome") == [(300, 3, 3)]
    assert sql(db, "select count(*) from attempt") == [(300,)]
    tool("floor", db, "fill", 200, 100)
    assert tool("floor", db, "drain", 200)["per_s"] > 0
    assert sql(db, "select (select count(*) from ready), (select count(*) from lease)") == [(0, 200)]


def test_limits_are_measured_with_limits_that_never_stop_a_call(db, workdir):
    config = workdir / "config.json"
    limits = {"requests": 10000000, "tokens": 1000000000, "concurrency": 100000}
    config.write_text(json.dumps({
        "targets": {"t": {"provider": "openai", "model": "m", "api_key": "k", "price": {"input": "1", "output": "1"}, "limits": limits}},
        "routes": {"default": {"targets": ["t"]}}}))
    measured = tool("limits", db, config, 1, 200)
    assert measured["calls"] > 0


@pytest.mark.parametrize("adapter", ["openai", "anthropic", "gemini", "bedrock"])
def test_answers_that_are_measured_are_understood(adapter):
    assert tool("answers", 1, adapter)[adapter]["mb_per_s"] > 0


def test_the_load_client_counts_what_it_sent(stack, keys):
    measured = tool("load", "127.0.0.1", urlsplit(stack.url).port, keys["api_key"], 4, 1, 200, "default")
    assert measured["errors"] == 0 and measured["per_s"] > 0
