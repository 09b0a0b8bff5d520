# SPDX-License-Identifier: Apache-2.0
"""Rules on the text of files: who may include what, names that are banned, the first line, length, marks of unfinished work."""

import re

# Room by room, what may be included: prefixes of paths. A deeper room comes first. The build makes sql_*.h, migrations.h and openapi_parts.h.
ROOMS = [
    ("common/", ("common/",)),
    ("api/faces/", ("api/faces/", "api/jobs/submission.h", "api/jobs/job_object.h", "common/")),
    ("api/", ("api/", "common/", "sql_api.h", "migrations.h", "openapi_parts.h")),
    ("worker/providers/", ("worker/providers/", *(f"common/{m}.h" for m in (
        "base", "str", "buf", "arena", "json", "err", "http/http_types", "http/sse", "clock", "conf", "crypto", "provider_record",
        "request_facts")))),
    ("worker/", ("worker/", "common/", "sql_worker.h")),
    ("cli/", ("cli/", "worker/", "api/", "common/", "sql_", "migrations.h")),
]
# Foreign headers that one part alone knows.
FOREIGN = {
    "curl/": re.compile(r"common/http/http_client\w*\.[ch]$|tests/"),
    "llhttp.h": re.compile(r"common/http/http_\w+\.[ch]$|tests/"),
    "libpq-fe.h": re.compile(r"common/db/db\w*\.[ch]$|tests/"),
}
BANNED = ("strcpy strcat strncpy strncat sprintf vsprintf gets strtok strtok_r atoi atol atof strtol strtoul sscanf alloca localtime gmtime "
          "asctime ctime system popen tmpnam mktemp rand").split()
BANNED_CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
PRINTS = re.compile(r"(?<![\w.>])v?snprintf\s*\(")
MAY_PRINT = {f"common/{m}.c" for m in ("str", "buf", "err", "log")}
# Python is compared with the words as they are split here, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(" + "|".join(a + b for a, b in (("TO", "DO"), ("FIX", "ME"), ("XX", "X"))) + r")\b")
SPDX = "SPDX-License-Identifier: Apache-2.0"
CODE = (".c", ".h", ".sql", ".py", ".sh", ".awk", ".mjs")
MAX_LINES = 600
UNTESTED = "UNTESTED" + ":"
UNTESTED_MAX = "tests/lib/untested.max"

NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)')


def without_noise(text):
    """C without comments and literals; lines stay where they are."""
    return NOISE.sub(lambda m: "\n" * m.group().count("\n") + " ", text)


def is_code(name, text):
    return name.endswith(CODE) or name.rsplit("/", 1)[-1] == "Makefile" or text.startswith("#!")


def check_includes(name, lines):
    room, allowed = next((r for r in ROOMS if name.startswith(r[0])), (None, None))
    for number, line in enumerate(lines, 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        kind, header = found.groups()
        if header.startswith("../") or "/../" in header:
            yield name, number, "includes name files from the top: no .."
        elif kind == '"' and room and not header.startswith(allowed):
            yield name, number, f"{room} may not include {header}"
        for foreign, place in FOREIGN.items():
            if header.startswith(foreign) and not place.match(name):
                yield name, number, f"{header} is not for this file: only its own part of common/ knows it"


def check_calls(name, text):
    for number, line in enumerate(without_noise(text).splitlines(), 1):
        found = BANNED_CALL.search(line)
        if found:
            yield name, number, f"{found.group(1)} is banned"
        if PRINTS.search(line) and name not in MAY_PRINT:
            yield name, number, "snprintf stands in str.c, buf.c, err.c and log.c only: use buf_printf or arena_printf"


def check_c_head(name, lines):
    """A .c file tells what it is for, right after the first line."""
    if len(lines) < 2 or not lines[1].lstrip().startswith("/*"):
        yield name, 2, "a .c file begins with what it is for"


def check_code(name, text, lines):
    first = 1 if lines and lines[0].startswith("#!") else 0
    if len(lines) <= first or SPDX not in lines[first]:
        yield name, first + 1, f"wanted here: {SPDX}"
    if len(lines) > MAX_LINES:
        yield name, MAX_LINES + 1, f"{len(lines)} lines; {MAX_LINES} are the most"
    for number, line in enumerate(lines, 1):
        found = UNFINISHED.search(line)
        if found:
            yield name, number, f"{found.group(1)}: finish it or leave it out"


def check_white_space(name, text, lines):
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield name, number, "white space at the end of the line"
    if text and not text.endswith("\n"):
        yield name, len(lines), "no line end at the end of the file"


def count_untested(files):
    return sum(text.count(UNTESTED) for name, text in files.items() if name.endswith((".c", ".h")))


def check_untested(files):
    most = int(files.get(UNTESTED_MAX, "0"))
    count = count_untested(files)
    if count > most:
        yield UNTESTED_MAX, 1, f"{count} branches are marked as untested, {most} were allowed: the number may only fall"
    if count < most:
        yield UNTESTED_MAX, 1, f"{count} branches are marked as untested: write that number here, it may only fall"


def check(files):
    for name, text in files.items():
        lines = text.split("\n")[:-1] if text.endswith("\n") else text.split("\n")
        if name.endswith((".c", ".h")):
            yield from check_includes(name, lines)
            yield from check_calls(name, text)
        if name.endswith(".c"):
            yield from check_c_head(name, lines)
        if is_code(name, text):
            yield from check_code(name, text, lines)
        if not name.endswith((".png", ".pdf", ".jpg")):
            yield from check_white_space(name, text, lines)
    yield from check_untested(files)
