# SPDX-License-Identifier: Apache-2.0
"""The rules of `make lint` find what they forbid, and leave alone what they allow."""

import re

import pytest

import lint_code
import lint_sql
import lint_tables

HEAD = "/* SPDX-License-Identifier: Apache-2.0 */\n/* What it is for. */\n"
MIGRATION = "create table thing (\n\tid int not null,\n\ttenant_id bigint not null\n);\ncreate table plain (\n\tid int\n);\n"


def found(check, name, text, **others):
    files = {name: text, **others, lint_code.UNTESTED_MAX: "0\n"}
    return [(n, line) for n, line, _ in check(files) if n == name]


@pytest.mark.parametrize("name, line", [
    ("common/x.c", '#include "worker/job.h"'),
    ("api/x.c", '#include "cli/options.h"'),
    ("worker/x.c", '#include "api/api.h"'),
    ("worker/providers/x.c", '#include "common/loop.h"'),
    ("worker/providers/x.c", '#include "worker/job.h"'),
    ("cli/x.c", '#include "../common/str.h"'),
    ("worker/x.c", "#include <curl/curl.h>"),
    ("api/x.c", "#include <llhttp.h>"),
    ("cli/x.c", "#include <libpq-fe.h>"),
    ("common/x.c", "\tstrcpy(a, b);"),
    ("common/x.c", "\treturn system (line);"),
    ("worker/x.c", "\tsnprintf(a, n, b);"),
    ("cli/x.c", "\tx = 1; "),
    ("cli/x.c", "/* TO" + "DO: more */"),
])
def test_lint_finds_a_forbidden_line(name, line):
    assert found(lint_code.check, name, f"{HEAD}{line}\n") == [(name, 3)]


@pytest.mark.parametrize("name, line", [
    ("common/http/http_client_slot.c", "#include <curl/curl.h>"),
    ("common/db/db_dial.c", "#include <libpq-fe.h>"),
    ("common/http/http_conn.h", "#include <llhttp.h>"),
    ("common/buf.c", "\tsnprintf(a, n, b);"),
    ("worker/providers/x.c", '#include "common/json.h"'),
    ("common/x.c", "/* strcpy(a, b) is banned */"),
    ("common/x.c", '\tputs("system(x)");'),
    ("common/x.c", "\tx->system(1);"),
    ("common/x.c", "\tmy_rand(1);"),
])
def test_lint_leaves_an_allowed_line(name, line):
    assert found(lint_code.check, name, f"{HEAD}{line}\n") == []


def test_lint_wants_the_licence_line():
    assert found(lint_code.check, "common/x.h", "int x;\n") == [("common/x.h", 1)]
    assert found(lint_code.check, "tests/x.py", "#!/usr/bin/python3\nx = 1\n") == [("tests/x.py", 2)]


def test_lint_wants_short_files():
    long = HEAD + "int x;\n" * 599
    assert found(lint_code.check, "common/x.c", long) == [("common/x.c", 601)]


def test_lint_lets_the_count_of_untested_branches_only_fall():
    marked = HEAD + "/* UNTES" + "TED: no memory */\n"
    for allowed, count in (("0\n", 1), ("1\n", 0), ("2\n", 1)):
        files = {"common/x.c": marked, lint_code.UNTESTED_MAX: allowed}
        assert len(list(lint_code.check(files))) == count


@pytest.mark.parametrize("statement, count", [
    ("select id from thing", 1),
    ("select id from thing where tenant_id = $1", 0),
    ("select 'tenant_id' from thing", 1),
    ("select id from plain", 0),
])
def test_lint_wants_the_tenant_in_statements_of_the_api(statement, count):
    name = "api/sql/x.sql"
    text = f"-- SPDX-License-Identifier: Apache-2.0\n-- Reads.\n{statement}\n"
    files = {name: text, "migrations/0001_x.sql": MIGRATION, **dict.fromkeys(lint_sql.WITHOUT_TENANT, text)}
    assert len([n for n, _, _ in lint_sql.check(files) if n == name]) == count


def test_lint_wants_a_head_comment_on_each_statement():
    assert found(lint_sql.check, "worker/sql/x.sql", "-- SPDX-License-Identifier: Apache-2.0\nselect 1\n") == [("worker/sql/x.sql", 1)]


def test_each_exception_has_a_reason():
    assert all(re.search(r"\w+ \w+", reason) for reason in lint_sql.WITHOUT_TENANT.values())


def test_lint_wants_each_row_of_a_table_used():
    files = {
        "common/err.def": 'ERR(LOST, "lost", 500, 0, LOG_INFO, "Lost")\nERR(POISON, "poison", 500, 0, LOG_INFO, "Poison")\n',
        "common/metrics.def": 'METRIC(DEAD, COUNTER, "dead_total", "", "Dead")\n',
        "common/conf.def": 'CONF(a_b, "a.b", INT, "1", 0, 1, RELOAD, "A")\n',
        "worker/sql/x.sql": "select 'poison'\n",
        "worker/x.c": "return conf_now()->a_b + METRIC_DEADLY; /* ERR_LOSTS */\n",
    }
    assert [(name, line) for name, line, _ in lint_tables.check(files)] == [("common/err.def", 1), ("common/metrics.def", 1)]
