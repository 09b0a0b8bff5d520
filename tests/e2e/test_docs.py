# SPDX-License-Identifier: Apache-2.0
"""What the documentation says is so: reference pages are current, links lead somewhere, examples run, the example configuration is
good, and the units are well-formed.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pg import sql
from proc import BIN, REPO

PAGES = {
    "settings": "common/SETTINGS.md",
    "errors": "api/ERRORS.md",
    "metrics": "common/METRICS.md",
    "schema": "deploy/millrace.schema.json",
}
READMES = sorted(p.relative_to(REPO).as_posix() for p in REPO.glob("*.md")) + sorted(
    p.relative_to(REPO).as_posix() for room in ("api", "cli", "common", "deploy", "migrations", "tests", "worker")
    for p in (REPO / room).rglob("*.md") if "node_modules" not in p.parts)


def run(*argv, env=None):
    return subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=60, env=env)


@pytest.mark.parametrize("page", PAGES)
def test_reference_pages_are_current(page):
    printed = run(BIN, "docs", page)
    assert printed.returncode == 0, printed.stderr
    assert (REPO / PAGES[page]).read_text() == printed.stdout, f"{PAGES[page]} is old: run `make docs`"


@pytest.mark.parametrize("name", READMES)
def test_links_lead_to_files(name):
    text = re.sub(r"```.*?```", "", (REPO / name).read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not target.startswith(("http://", "https://")):
            assert ((REPO / name).parent / target).exists(), f"{name} links to {target}, which is not there"


def statement_names(cell):
    """`api/sql/a`, `b` → api/sql/a, api/sql/b: a name without a room is of the room before it."""
    room = None
    for name in re.findall(r"`([\w/]+)`", cell):
        room = name.rsplit("/", 1)[0] if "/" in name else room
        yield name if "/" in name else f"{room}/{name}"


def test_statements_and_tables_of_the_schema_page_exist(db):
    text = (REPO / "migrations/README.md").read_text()
    tables, statements = re.search(r"## Tables\n(.*?)\n## ", text, re.S).group(1), text.rsplit("## ", 1)[1]
    rows = re.findall(r"^\| (`[^|]+) \|", statements, re.M)
    assert rows
    for statement in (name for row in rows for name in statement_names(row)):
        assert (REPO / f"{statement}.sql").is_file(), statement
    named = {t for row in re.findall(r"^\| (`[^|]+) \|", tables, re.M) for t in re.findall(r"`(\w+)`", row)}
    there = {name for (name,) in sql(db, """select relname from pg_class where relkind in ('r', 'p') and not relispartition
        and relnamespace = 'public'::regnamespace and relname <> 'millrace_migration'""")}
    assert named == there


def test_routes_of_the_api_page_are_those_of_the_router():
    table = re.findall(r'\{ HTTP_(\w+), "([^"]+)"', (REPO / "api/router.c").read_text())
    routes = {f"{method} {re.sub(r'{(?!name|key)[a-z]+}', '{id}', path)}" for method, path in table}
    page = set(re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE) /[^`?]*)`", (REPO / "api/README.md").read_text(), re.M))
    assert page == routes


def test_modules_of_common_are_listed():
    page = (REPO / "common/README.md").read_text()
    private = {"conf_private", "db_conn", "http_client_priv", "http_conn"}
    modules = {p.stem for p in (REPO / "common").rglob("*.h")} - private
    assert sorted(m for m in modules if f"`{m}`" not in page) == []


def test_fields_of_the_simulator_page_are_those_of_the_script():
    fields = set(re.findall(r'\{ "(\w+)", FIELD_', (REPO / "cli/simulator/script.c").read_text()))
    page = re.search(r"\| field \|.*?\n\n", (REPO / "cli/simulator/README.md").read_text(), re.S).group()
    named = {f for row in re.findall(r"^\| (`[^|]+) \|", page, re.M) for f in re.findall(r"`(\w+)`", row)}
    assert named == fields


def run_examples(name, workdir, env, change=lambda text: text):
    """All ```sh blocks of a page, one after the other in one shell; what they print."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (REPO / name).read_text(), re.S | re.M)
    assert len(blocks) >= 3
    script = f"set -eu -o pipefail\ncd {workdir}\n" + change("\n".join(blocks))
    done = run("/bin/bash", "-c", script, env={"PATH": f"{workdir}/bin:/usr/bin:/bin", **env})
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_examples_of_the_api_page_run(stack, keys, workdir):
    done = run_examples("api/README.md", workdir, {"MILLRACE": stack.url, "KEY": keys["api_key"]})
    assert [line for line in done.stdout.splitlines() if line.startswith("{")], done.stdout


def client_of(stack, keys, workdir):
    (workdir / "bin").mkdir()
    (workdir / "bin/millrace").symlink_to(Path(BIN).resolve())
    return {"MILLRACE_URL": stack.url, "MILLRACE_API_KEY": keys["api_key"], "KEY": keys["api_key"]}


def test_examples_of_the_front_page_run(stack, keys, workdir):
    def here(text):
        assert "build/millrace" in text and "http://127.0.0.1:8080" in text
        return text.replace("build/millrace", "millrace").replace("http://127.0.0.1:8080", stack.url).replace("/tmp/", f"{workdir}/")

    done = run_examples("README.md", workdir, client_of(stack, keys, workdir), here)
    assert done.stdout.startswith("Say hello\n"), done.stdout
    assert len((workdir / "out.jsonl").read_text().splitlines()) == 2 and (workdir / "failed.jsonl").read_text() == ""


def test_examples_of_the_commands_page_run(stack, keys, workdir):
    done = run_examples("cli/README.md", workdir, client_of(stack, keys, workdir))
    assert "dry run: 3 valid requests" in done.stderr and "completed: 3 succeeded" in done.stderr, done.stderr
    assert (workdir / "copy.jsonl").read_text() == (workdir / "in.jsonl").read_text()


def test_the_commands_page_names_every_command():
    page = set(re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| (`[^|]+) \|", (REPO / "cli/README.md").read_text(), re.M))))
    known = set(re.findall(r'^\t\{ "([a-z-]+)", .*, false \}', (REPO / "cli/main.c").read_text(), re.M)) - {"version"}
    assert page == known


def test_the_schema_has_the_members_that_are_read():
    read = {name for part in ("targets", "routes", "rates")
            for name in re.findall(r'\{ "(\w+)", (?:conf_)?read_', (REPO / f"common/conf_{part}.c").read_text())}
    known = set()

    def walk(schema):
        if isinstance(schema, dict):
            known.update(schema.get("properties", {}))
        for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
            walk(inner)

    walk(json.loads((REPO / "deploy/millrace.schema.json").read_text())["$defs"])
    assert known - {"min", "max"} == read


def test_the_example_configuration_is_good():
    env = {"MILLRACE_DATABASE_URL": "postgresql:///millrace", **{f"{name}_API_KEY": "x" for name in ("OPENAI", "ANTHROPIC", "GEMINI")}}
    checked = run(BIN, "check-config", REPO / "deploy/config.example.json", env=env)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "note:" not in checked.stdout
    assert "route default: openai/gpt-4o-mini → gemini/flash → anthropic/claude-sonnet" in checked.stdout
    assert "when none can: a cached answer → local/llama → 2 prepared answers" in checked.stdout
    assert "tier all: 400 calls at once — all together" in checked.stdout
    schema = json.loads((REPO / "deploy/millrace.schema.json").read_text())
    assert set(json.loads((REPO / "deploy/config.example.json").read_text())) <= set(schema["properties"])


def test_units_are_well_formed(workdir):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    program = workdir / "program"  # a clone's path may hold spaces
    program.symlink_to(Path(BIN).resolve())
    for unit in (REPO / "deploy/systemd").iterdir():
        name = unit.name.replace("@.", "@1.")
        (workdir / name).write_text(unit.read_text().replace("/usr/local/bin/millrace", str(program)))
    verified = run("systemd-analyze", "verify", *sorted(workdir.glob("millrace*")))
    assert verified.returncode == 0 and not verified.stderr, verified.stderr
    for name in ("millrace-api@1.service", "millrace-worker@1.service"):
        judged = run("systemd-analyze", "security", "--offline=true", "--threshold=15", workdir / name)
        assert judged.returncode == 0, judged.stdout[-300:]
