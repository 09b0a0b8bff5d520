# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI description as npm's linter sees it: no error and no warning."""

import json
import os
import subprocess
from pathlib import Path

from proc import BIN

HERE = Path(__file__).resolve().parent


def test_the_linter_finds_nothing_in_the_openapi_description(workdir):
    document = workdir / "openapi.json"
    document.write_text(subprocess.run([BIN, "docs", "openapi"], check=True, capture_output=True, text=True).stdout)
    env = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    done = subprocess.run(["node", HERE / "node_modules/.bin/redocly", "lint", "--format", "json", "--config", HERE / "redocly.yaml", document],
                          capture_output=True, text=True, env=env, timeout=60)
    found = json.loads(done.stdout[done.stdout.index("{"):])
    assert [(p["ruleId"], p["message"], p["location"][0].get("pointer")) for p in found["problems"]] == []
    assert found["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}
