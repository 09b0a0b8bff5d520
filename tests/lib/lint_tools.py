# SPDX-License-Identifier: Apache-2.0
"""Rules that other programs measure: length and complexity of functions (pmccabe), and what cppcheck finds."""

import re
import subprocess

MAX_FUNCTION_LINES = 80
MAX_COMPLEXITY = 20
SUPPRESSIONS = "tests/lib/cppcheck.suppr"
CPPCHECK = ["cppcheck", "--quiet", "-j2", "--std=c11", "--library=posix", "--enable=warning,performance,portability", "--max-configs=2",
            "--inline-suppr", f"--suppressions-list={SUPPRESSIONS}", "--template={file}:{line}: {message} [{id}]", "-I.", "-Ibuild/gen",
            "--library=tests/lib/cppcheck.cfg"]
CHECKED = ["common", "api", "worker", "cli"]
FINDING = re.compile(r"([^:\n]+):(\d+): (.*)")


def check_sizes(root, files):
    """pmccabe prints: modified complexity, complexity, statements, first line, lines, file(line): function."""
    names = [name for name in files if name.endswith(".c")]
    out = subprocess.run(["pmccabe", *names], cwd=root, capture_output=True, text=True, check=True).stdout
    for row in out.splitlines():
        _, complexity, _, first, lines, where = row.split("\t")
        name, function = where.split("(")[0], where.split("): ")[-1]
        if int(lines) > MAX_FUNCTION_LINES:
            yield name, int(first), f"{function} has {lines} lines; {MAX_FUNCTION_LINES} are the most"
        if int(complexity) > MAX_COMPLEXITY:
            yield name, int(first), f"{function} has a complexity of {complexity}; {MAX_COMPLEXITY} is the most"


def check_cppcheck(root, files):
    # What it found in files that did not change is kept in build/cppcheck.
    cache = root / "build" / "cppcheck"
    cache.mkdir(parents=True, exist_ok=True)
    rooms = [room for room in CHECKED if any(name.startswith(room + "/") and name.endswith(".c") for name in files)]
    run = subprocess.run([*CPPCHECK, f"--cppcheck-build-dir={cache}", *rooms], cwd=root, capture_output=True, text=True)
    found = FINDING.findall(run.stderr)
    if run.returncode and not found:
        yield "tests/lib/lint_tools.py", 1, f"cppcheck ended with {run.returncode}: {run.stderr.strip() or run.stdout.strip()}"
    for name, line, text in found:
        yield name, int(line), text
