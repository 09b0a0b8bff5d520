# SPDX-License-Identifier: Apache-2.0
"""A row of a table (errors, metrics, settings) that nothing uses documents what does not exist."""

import re

# table → a row's name, and what shows that it is used
TABLES = {
    "common/err.def": (re.compile(r'^ERR\((\w+),\s*"(\w+)"', re.M), "ERR_{0}", "'{1}'"),
    "common/metrics.def": (re.compile(r'^METRIC\((\w+),\s*(\w+)', re.M), "METRIC_{0}", None),
    "common/conf.def": (re.compile(r'^CONF\((\w+),\s*"([\w.]+)"', re.M), "{0}", None),
}
ROOMS = ("api/", "cli/", "common/", "worker/")


def check(files):
    code = "\n".join(text for name, text in files.items() if name.startswith(ROOMS) and name.endswith((".c", ".h")))
    statements = "\n".join(text for name, text in files.items() if name.startswith(ROOMS) and name.endswith(".sql"))
    words = set(re.findall(r"\w+", code))
    for table, (row, in_code, in_sql) in TABLES.items():
        for found in row.finditer(files.get(table, "")):
            used = in_code.format(*found.groups()) in words
            if not used and not (in_sql and in_sql.format(*found.groups()) in statements):
                yield table, files[table].count("\n", 0, found.start()) + 1, f"nothing uses {found.group(1)}"
