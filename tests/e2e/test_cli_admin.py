# SPDX-License-Identifier: Apache-2.0
"""The operators' commands against a real service: what they show, what they do, and whose key they send."""

import json
import os
import subprocess

import pytest

OK, FAILED, USAGE, NOT_FOUND, UNREACHABLE = range(5)
NAME = "openai/gpt-4o-mini"


@pytest.fixture
def api(make_stack):
    return make_stack(workers=0, simulator=False, config={
        "targets": {NAME: {"provider": "openai", "model": "gpt-4o-mini", "api_key": "sk-x", "limits": {"requests": 100, "concurrency": 4}},
                    "b": {"provider": "openai", "model": "b", "api_key": "sk-x"}}})


@pytest.fixture
def cli(api, workdir, keys):
    env = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
    env.update(MILLRACE_URL=api.url, MILLRACE_ADMIN_KEY=keys["admin_key"])

    def run(*words, want=OK, **more):
        p = subprocess.run([os.environ["MILLRACE_BIN"], *words], cwd=workdir, env={**env, **more}, text=True, capture_output=True, timeout=60)
        assert p.returncode == want, p.stdout + p.stderr
        return p

    run.env = env
    return run


def rows(text):
    return [line.split() for line in text.splitlines()]


def test_targets_are_listed_with_what_stands_in_their_way(cli, api):
    api.sql("""insert into target_state (name, breaker, generation, reopen_at, parked_until, disabled_at, disabled_why) values
        ('open', 1, 1, now() + interval '90 s', null, null, null), ('half', 2, 2, null, null, null, null),
        ('parked', 0, 0, null, now() + interval '1 h', null, null), ('was-parked', 0, 0, null, now() - interval '1 h', null, null),
        ('off', 0, 0, null, null, now(), 'provider_auth: Incorrect API key')""")
    api.sql("""insert into target_tick (name, slot, calls, failures, answered, first_token_ms, latency_ms)
        values ('b', floor(extract(epoch from now()) / 10)::int8, 1200, 3, 2, 500, 3000)""")
    p = cli("targets")
    table = {r[0]: r[1:] for r in rows(p.stdout)}
    assert table["TARGET"][:3] == ["STATE", "CALLS/MIN", "FAILED"]
    assert {n: r[0] for n, r in table.items() if n != "TARGET"} == {"open": "open", "half": "half-open", "parked": "parked", "was-parked": "ready",
                                                                   "off": "disabled", NAME: "ready", "b": "ready"}
    assert table["b"][1:5] == ["1,200", "3", "250ms", "1.5s"] and table[NAME][1:5] == ["0", "0", "-", "-"]
    assert "provider_auth: Incorrect API key" in p.stdout and "tried again in 1m" in p.stdout and "not in the configuration" in p.stdout
    assert len([json.loads(line) for line in cli("targets", "--json").stdout.splitlines()]) == 7
    assert cli("targets", "list").stdout.splitlines()[0] == p.stdout.splitlines()[0]


def test_orders_are_given_by_name(cli, api):
    assert cli("targets", "pause", NAME, "b", "--reason", 'too "dear"').stdout == f"{NAME}  paused\nb  paused\n"
    assert api.sql("select name, admin from target_state order by name") == [("b", 1), (NAME, 1)]
    shown = cli("targets", "show", NAME).stdout
    assert shown.startswith(f"{NAME}  paused\n") and "requests: 0 of 80 in the last minute" in shown and "concurrency: 0 of 3 at once" in shown
    assert "paused" in shown.splitlines()[-1] and 'too \\"dear\\"' in shown.splitlines()[-1]
    assert cli("targets", "drain", "b").stdout == "b  draining\n"
    assert cli("targets", "resume", NAME, "b").stdout == f"{NAME}  ready\nb  ready\n"
    api.sql("update target_state set breaker = 1, generation = 1, reopen_at = now() + interval '1 h' where name = 'b'")
    assert json.loads(cli("targets", "reset", "b", "--json").stdout)["breaker"]["state"] == "closed"


def test_a_target_that_is_not_there_does_not_stop_the_others(cli):
    p = cli("targets", "pause", "nothing/here", "b", want=NOT_FOUND)
    assert p.stdout == "b  paused\n" and "there is no target of that name" in p.stderr
    cli("targets", "show", "nothing/here", want=NOT_FOUND)
    cli("targets", "show", "../../healthz", want=NOT_FOUND)
    cli("targets", "pause", want=USAGE)
    cli("targets", "pause", "", want=USAGE)
    assert 'did you mean "pause"' in cli("targets", "pawse", "b", want=USAGE).stderr
    assert cli("targets", "pause", "b", "--reason", "x" * 501, want=FAILED).stderr.count("/reason") == 1


def fill(api):
    api.sql("""insert into cache_entry (bucket, key, tenant_id, route, target, body, hits, cost_nanousd, expires_at, stale_until)
        select millrace_key_bucket(k), k, (select id from tenant where name = 'default'), case when n <= 3 then 'a' else 'b' end, 't', '{}', 2, 1000000,
            now() + interval '1 h', now() + interval '2 h' from generate_series(1, 5) n, sha256(n::text::bytea) k""")


def test_the_cache_is_counted_and_cleared(cli, api):
    fill(api)
    table = rows(cli("cache").stdout)
    assert table[0] == ["OF", "NAME", "ENTRIES", "SIZE", "FRESH", "STALE", "HITS", "SAVED"]
    assert [table[1][0], table[1][1]] == ["all", "5"] and table[1][-2:] == ["10", "$0.01"]
    assert [r[:3] for r in table[2:]] == [["route", "a", "3"], ["route", "b", "2"], ["tenant", "default", "5"]]
    assert json.loads(cli("cache", "stats", "--json").stdout)["entries"] == 5
    assert cli("cache", "clear", "--older-than", "1h").stdout == "0 deleted\n"
    assert cli("cache", "clear", "--route", "a", "--tenant", "default").stdout == "3 deleted\n"
    assert cli("cache", "clear", "--all").stdout == "2 deleted\n"


def test_clearing_everything_must_be_said(cli, api):
    fill(api)
    cli("cache", "clear", want=USAGE)
    cli("cache", "clear", "--all", "--route", "a", want=USAGE)
    assert "older_than" in cli("cache", "clear", "--older-than", "soon", want=FAILED).stderr
    assert api.sql("select count(*) from cache_entry") == [(5,)]


def test_the_admin_key_is_sent_and_no_other(cli, api, keys, workdir):
    p = cli("targets", "--admin-key", keys["api_key"], want=UNREACHABLE)
    assert "needs the admin key" in p.stderr and "--admin-key" in p.stderr
    cli("targets", MILLRACE_ADMIN_KEY="", MILLRACE_API_KEY=keys["admin_key"], want=UNREACHABLE)
    (workdir / ".millrace").mkdir()
    (workdir / ".millrace/ready.json").write_text(json.dumps({"url": api.url, "api_key": keys["api_key"], "admin_key": keys["admin_key"]}))
    cli("targets", MILLRACE_ADMIN_KEY="", MILLRACE_URL="")
    cli("cache", MILLRACE_ADMIN_KEY="", MILLRACE_URL="")


def test_hostile_text_cannot_drive_the_terminal(cli, api):
    api.sql("insert into target_state (name, disabled_at, disabled_why) values (E'x\\x1b[2J', now(), E'bad \\x1b[31m')")
    for words in (["targets"], ["targets", "show", "x\x1b[2J"], ["targets", "pause", "x\x1b[2J"]):
        p = cli(*words)
        assert "\x1b" not in p.stdout + p.stderr
