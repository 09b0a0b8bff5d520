# SPDX-License-Identifier: Apache-2.0
"""The front page's example with the official SDKs, as it stands there but for the address."""

import os
import re
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ADDRESS = "http://127.0.0.1:8080"


def test_the_front_page_s_example_runs(make_stack, keys):
    stack = make_stack()
    example, = re.findall(r"^```js\n(.*?)^```", (HERE.parents[1] / "README.md").read_text(), re.S | re.M)
    assert example.count(ADDRESS) == 2
    done = subprocess.run(["node", "--input-type=module", "-e", example.replace(ADDRESS, stack.url)], cwd=HERE, capture_output=True, text=True,
                          timeout=60, env={**os.environ, "KEY": keys["api_key"]})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Say hello\nSay hello\n"
