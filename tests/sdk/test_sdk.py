# SPDX-License-Identifier: Apache-2.0
"""The official SDKs against the real program. The tests are the `test("…")` of the *.mjs files here; each gets a stack of its own, which they ask
for things that an SDK cannot do: the methods of Helper. lib/harness.mjs is the other end.
"""

import json
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
NAMES = [(p.stem, name) for p in sorted(HERE.glob("*.mjs")) for name in re.findall(r'^test\("([^"]+)"', p.read_text(), re.M)]
LIMIT_S = 120  # of a whole test


class Helper:
    """What a test may ask of its stack. Processes are named as "api" or "worker" and a number."""

    def __init__(self, stack):
        self.stack = stack

    def process(self, kind, number):
        return {"api": self.stack.apis, "worker": self.stack.workers}[kind][number]

    def kill(self, kind, number):
        self.process(kind, number).kill()

    def start(self, kind, number):
        self.process(kind, number).start()

    def stop(self, kind, number):
        self.process(kind, number).stop()

    def cont(self, kind, number):
        self.process(kind, number).cont()

    def sql(self, statement, *params):
        return json.loads(json.dumps(self.stack.sql(statement, *params), default=str))

    def rss_mb(self, kind, number):
        """The most that it ever had."""
        text = Path(f"/proc/{self.process(kind, number).pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) / 1024


def about(stack):
    return {
        "url": stack.url, "urls": [api.url for api in stack.apis], **stack.keys,
        "simulator": stack.simulator.base_url.removesuffix("/v1"),
        "webhook_secret": stack.sql("select webhook_secret from tenant order by id limit 1")[0][0],
    }


def answer(helper, message):
    try:
        return {"value": getattr(helper, message["call"])(*message["args"])}
    except Exception as e:
        return {"error": f"{type(e).__name__}: {e}"}


def converse(node, make_stack):
    """Until the test has ended; its complaint, or None."""
    helper = None
    for text in node.stdout:
        message = json.loads(text)
        if "stack" in message:
            stack = make_stack(**message["stack"])
            helper, reply = Helper(stack), {"value": about(stack)}
        elif "call" in message:
            reply = answer(helper, message)
        else:
            return message.get("fail")
        node.stdin.write(json.dumps(reply) + "\n")
        node.stdin.flush()
    return "node ended without a word"


@pytest.mark.parametrize("file,name", NAMES, ids=[f"{file}: {name}" for file, name in NAMES])
def test_sdk(file, name, make_stack, shared):
    node = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", "node", HERE / "lib/harness.mjs", HERE / f"{file}.mjs", name], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "MILLRACE_TEST_RUN": shared["run"]})
    late = threading.Timer(LIMIT_S, node.kill)
    late.start()
    try:
        complaint = converse(node, make_stack)
        if complaint:
            pytest.fail(complaint, pytrace=False)
    finally:
        late.cancel()
        node.kill()
        node.wait()
        node.stdin.close()
        node.stdout.close()
