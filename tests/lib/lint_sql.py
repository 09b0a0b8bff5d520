# SPDX-License-Identifier: Apache-2.0
"""Rules on statements: a file each with a head comment, and no statement of the API on a tenant's rows that does not name the tenant."""

import re

TABLE = re.compile(r"create (?:unlogged )?table (\w+) \((.*?)\n\)", re.S | re.I)

# Statements of api/sql that may name a tenant's tables without the tenant.
WITHOUT_TENANT = {
    "api/sql/file_sweep_abandoned.sql": "frees what nobody can see, for all tenants; only the number leaves",
    "api/sql/file_sweep_chunks.sql": "frees pieces of blobs that were dropped, for all tenants; only the number leaves",
    "api/sql/ahead.sql": "counts the jobs before one in its lane, which all tenants share; only the number leaves",
    "api/sql/admin_wake.sql": "an operator's: jobs of all tenants wait for a target; only the number leaves",
}


def tenant_tables(files):
    """The tables that have a tenant_id, as the migrations make them."""
    return {table for name, text in files.items() if name.startswith("migrations/") and name.endswith(".sql")
            for table, columns in TABLE.findall(text) if re.search(r"^\s*tenant_id\s", columns, re.M)}


def statement_of(text):
    """The statement without comments and literals."""
    return re.sub(r"--[^\n]*|'[^']*'", " ", text)


def check_head(name, text):
    lines = [line for line in text.splitlines() if "SPDX-" not in line]
    if not lines or not re.match(r"-- \w", lines[0]):
        yield name, 1, "a statement begins with a comment: what it does, its parameters, what it returns"


def check_tenant(name, text, tables):
    statement = statement_of(text)
    named = sorted(t for t in tables if re.search(rf"\b(?:from|join|into|update|using)\s+{t}\b", statement))
    if named and not re.search(r"\btenant_id\b", statement) and name not in WITHOUT_TENANT:
        yield name, 1, f"names {', '.join(named)}, but no tenant_id"


def check(files):
    tables = tenant_tables(files)
    for name, text in files.items():
        if re.match(r"(api|worker)/sql/[^/]+\.sql$", name):
            yield from check_head(name, text)
        if name.startswith("api/sql/"):
            yield from check_tenant(name, text, tables)
    for name in WITHOUT_TENANT:
        if name not in files:
            yield "tests/lib/lint_sql.py", 1, f"WITHOUT_TENANT names {name}, which is not there"
