# SPDX-License-Identifier: Apache-2.0
"""The systemd units start what the program has: in the foreground, with JSON lines as log, reloaded and drained by the signals they send."""

import json
import re
import signal

import pytest

from proc import BIN, REPO, Process, wait_until


def unit(name):
    text = (REPO / "deploy/systemd" / name).read_text()
    return {key: re.search(rf"^{key}=(.*)$", text, re.M)[1] for key in ("ExecStart", "ExecReload", "KillMode")}


@pytest.mark.parametrize("name, ready, reloaded", [
    ("millrace-api@.service", "serving", "config_reloaded"),
    ("millrace-worker@.service", "worker_ready", "reloaded"),
])
def test_a_unit_s_command_serves_reloads_and_drains(make_stack, workdir, name, ready, reloaded):
    stack = make_stack(start=False, simulator=False)
    config = workdir / "config.json"
    config.write_text(json.dumps({"database": {"url": "${MILLRACE_DATABASE_URL}"}, "server": {"listen": "127.0.0.1:0"}}))
    said = unit(name)
    program, *words = said["ExecStart"].replace("/etc/millrace/config.json", str(config)).split()
    assert program.endswith("/millrace") and str(config) in words
    process = Process(name, [BIN, *words], workdir, env={**stack.env, "MILLRACE_DATABASE_URL": stack.db})
    process.start()
    try:
        wait_until(lambda: process.log_events(ready), 20, ready)
        assert said["ExecReload"] == "/bin/kill -HUP $MAINPID"
        process.signal(signal.SIGHUP)
        wait_until(lambda: process.log_events(reloaded), 10, reloaded)
        assert said["KillMode"] == "mixed"
        assert process.term() == 0
        for line in process.log().splitlines():
            assert {"time", "level", "event"} <= set(json.loads(line)), line
    finally:
        process.close()
