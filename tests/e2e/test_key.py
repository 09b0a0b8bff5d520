# SPDX-License-Identifier: Apache-2.0
"""`millrace key`: keys in a real database, known to the API by their hash only."""
import hashlib
import json
import os
import re
import subprocess

from pg import sql

KEY = re.compile(r"mr_[0-9A-Za-z]{10}_[0-9A-Za-z]{49}\n")


def key(db, *words, want=0):
    env = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_") or k == "MILLRACE_BIN"}
    p = subprocess.run([os.environ["MILLRACE_BIN"], "key", *words, "--database-url", db], env=env, text=True, capture_output=True,
                       timeout=60)
    assert p.returncode == want, p.stdout + p.stderr
    return p


def test_a_key_is_shown_once_and_stored_as_its_hash(db):
    p = key(db, "create", "--tenant", "acme", "--name", "ci", "--admin", "--expires", "90d")
    assert KEY.fullmatch(p.stdout)
    made = p.stdout.strip()
    rows = sql(db, "SELECT k.prefix, encode(k.key_hash, 'hex'), t.name, k.name, k.is_admin, k.expires_at > now() + interval '89 days'"
                   " FROM api_key k JOIN tenant t ON t.id = k.tenant_id WHERE t.name = 'acme'")
    assert rows == [(made[:13], hashlib.sha256(made.encode()).hexdigest(), "acme", "ci", True, True)]
    secret = made[14:]
    for table in ("api_key", "tenant"):
        assert not any(secret in str(row) for row in sql(db, f"SELECT {table}::text FROM {table}"))


def test_keys_of_one_tenant_share_it(db):
    key(db, "create", "--tenant", "acme")
    key(db, "create", "--tenant", "acme")
    assert sql(db, "SELECT count(*) FROM tenant WHERE name = 'acme'") == [(1,)]
    assert sql(db, "SELECT webhook_secret LIKE 'whsec_%' FROM tenant WHERE name = 'acme'") == [(True,)]


def test_a_revoked_key_is_listed_as_such(db):
    made = key(db, "create", "--tenant", "acme", "--name", "old").stdout.strip()
    assert re.search(rf"{made[:13]} +acme +old +tenant +active", key(db, "list").stdout)
    assert key(db, "revoke", made[:13]).stdout == f"{made[:13]} revoked\n"
    key(db, "revoke", made)  # again, by the whole key: still revoked
    assert re.search(rf"{made[:13]} +acme +old +tenant +revoked", key(db, "list").stdout)
    assert made not in key(db, "list").stdout


def test_scripts_get_json(db):
    made = json.loads(key(db, "create", "--tenant", 'ac"me', "--name", "ci", "--json").stdout)
    assert KEY.fullmatch(made["key"] + "\n") and made["key"].startswith(made["prefix"] + "_")
    assert made == {"key": made["key"], "prefix": made["key"][:13], "tenant": 'ac"me', "name": "ci", "kind": "tenant"}
    [listed] = [k for k in map(json.loads, key(db, "list", "--json").stdout.splitlines()) if k["prefix"] == made["prefix"]]
    assert re.fullmatch(r"20..-..-..T..:..:..Z", listed.pop("created_at"))
    assert listed == {"prefix": made["prefix"], "tenant": 'ac"me', "name": "ci", "kind": "tenant", "status": "active",
                      "expires_at": None}


def test_what_is_wrong_is_said(db):
    key(db, "revoke", "mr_0000000000", want=3)
    key(db, "revoke", "nonsense", want=2)
    key(db, "create", "--expires", "soon", want=2)
    p = subprocess.run([os.environ["MILLRACE_BIN"], "key", "list", "--database-url", "postgresql://127.0.0.1:1/x"], text=True,
                       capture_output=True, timeout=60)
    assert p.returncode == 4 and p.stderr.startswith("millrace key list: ")
