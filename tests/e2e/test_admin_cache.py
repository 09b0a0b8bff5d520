# SPDX-License-Identifier: Apache-2.0
"""Kept answers as operators see them: numbers, pages, single entries, and clearing in steps."""

import pytest


@pytest.fixture
def api(make_stack):
    return make_stack(workers=0, simulator=False, config={"targets": {"t": {"provider": "openai", "model": "m", "api_key": "x"}}})


def fill(stack, n, tenant="default", route="r", hits=0, cost=1000, expires="1 hour", age="0", salt=""):
    stack.sql("insert into tenant (name, webhook_secret) values (%s, 'whsec_x') on conflict do nothing", tenant)
    stack.sql("""insert into cache_entry (bucket, key, tenant_id, route, target, body, hits, cost_nanousd, created_at, expires_at, stale_until)
        select millrace_key_bucket(k), k, (select id from tenant where name = %s), %s, 't', '{"text":"äh"}', %s::int8, %s::int8, now() - %s::interval,
            now() + %s::interval, now() + interval '7 days'
        from (select sha256(convert_to(n || %s || %s || %s, 'utf8')) as k from generate_series(1, %s::int) n) keys""",
              tenant, route, hits, cost, age, expires, tenant, route, salt, n)


def stats(stack):
    answer = stack.admin().get("/admin/v1/cache")
    assert answer.status == 200, answer
    return answer.json


def clear(stack, query, status=200):
    answer = stack.admin().delete(f"/admin/v1/cache{query}")
    assert answer.status == status, answer
    return answer.json


def test_an_empty_cache_is_counted(api):
    assert stats(api) == {"object": "cache", "entries": 0, "bytes": 0, "fresh": 0, "stale": 0, "hits": 0, "saved": {"usd": "0.000000"},
                          "routes": [], "tenants": [], "is_whole": True}


def test_numbers_are_those_of_all_routes_and_tenants(api):
    fill(api, 3, "a", "r", hits=2, cost=1_000_000)
    fill(api, 2, "b", "r", hits=1, cost=None)
    fill(api, 4, "b", "q", expires="-1 hour")
    all_of_it = stats(api)
    assert {k: all_of_it[k] for k in ("entries", "fresh", "stale", "hits", "saved")} == {
        "entries": 9, "fresh": 5, "stale": 4, "hits": 8, "saved": {"usd": "0.006000"}}
    assert all_of_it["bytes"] > 9 * 10
    assert [(r["route"], r["entries"], r["hits"], r["saved"]["usd"]) for r in all_of_it["routes"]] == [("r", 5, 8, "0.006000"), ("q", 4, 0, "0.000000")]
    assert [(t["tenant"], t["entries"], t["stale"]) for t in all_of_it["tenants"]] == [("b", 6, 4), ("a", 3, 0)]


def test_pages_go_through_all_entries_once(api):
    fill(api, 45, "a", "r")
    fill(api, 5, "b", "q")
    seen, after = [], ""
    while True:
        page = api.admin().get(f"/admin/v1/cache/entries?limit=20{after}").json
        seen += [e["key"] for e in page["data"]]
        if not page["has_more"]:
            break
        assert page["last_id"] == seen[-1]
        after = f"&after={seen[-1]}"
    assert len(seen) == 50 == len(set(seen)) and seen == sorted(seen)
    assert len(api.admin().get("/admin/v1/cache/entries?tenant=b&limit=100").json["data"]) == 5
    assert len(api.admin().get("/admin/v1/cache/entries?route=r&limit=100").json["data"]) == 45
    assert api.admin().get("/admin/v1/cache/entries?route=r&tenant=b").json["data"] == []
    assert api.admin().get("/admin/v1/cache/entries?tenant=nobody").json == {"object": "list", "data": [], "has_more": False, "first_id": None,
                                                                            "last_id": None}


def test_an_entry_is_shown_and_deleted(api):
    fill(api, 2, "a", "r", hits=3, cost=420_000)
    listed = api.admin().get("/admin/v1/cache/entries").json["data"]
    one = api.admin().get(f"/admin/v1/cache/entries/{listed[0]['key']}").json
    assert (one["tenant"], one["route"], one["target"], one["namespace"], one["hits"], one["cost"]) == ("a", "r", "t", None, 3, {"usd": "0.000420"})
    assert one["size"] == len('{"text":"äh"}'.encode()) and one["result"] == {"text": "äh"} and "result" not in listed[0]
    assert one["created_at"] < one["expires_at"] < one["stale_until"] and one["hit_at"] is None
    assert api.admin().delete(f"/admin/v1/cache/entries/{one['key']}").json == {"object": "cache_entry", "key": one["key"], "deleted": True}
    assert api.admin().delete(f"/admin/v1/cache/entries/{one['key']}").status == 404
    assert api.admin().get(f"/admin/v1/cache/entries/{one['key']}").status == 404
    assert api.admin().get("/admin/v1/cache/entries/abc").status == 404
    assert stats(api)["entries"] == 1


def test_clearing_takes_what_the_filters_say(api):
    fill(api, 10, "a", "r", age="2 hours")
    fill(api, 10, "a", "q")
    fill(api, 10, "b", "r")
    assert clear(api, "?tenant=a&older_than=1h") == {"object": "cache", "deleted": 10}
    assert clear(api, "?tenant=a&older_than=1h")["deleted"] == 0
    assert clear(api, "?route=r")["deleted"] == 10
    assert clear(api, "?tenant=nobody")["deleted"] == 0
    assert [(t["tenant"], t["entries"]) for t in stats(api)["tenants"]] == [("a", 10)]
    assert clear(api, "?all=true")["deleted"] == 10


def test_clearing_goes_in_steps_until_nothing_is_left(api):
    fill(api, 5000, "a", "r")  # exactly one step
    fill(api, 6001, "b", "r")
    assert clear(api, "?tenant=a")["deleted"] == 5000
    assert clear(api, "?all=true")["deleted"] == 6001
    assert stats(api)["entries"] == 0


def test_clearing_everything_must_be_said(api):
    fill(api, 1)
    assert clear(api, "", 400)["param"] == "all"
    assert clear(api, "?all=false", 400)["code"] == "missing_field"
    assert clear(api, "?all=yes", 400)["param"] == "all"
    assert clear(api, "?older_than=soon", 400)["param"] == "older_than"
    assert clear(api, "?tenent=a", 400)["param"] == "tenent"
    assert api.admin().get("/admin/v1/cache/entries?after=xyz").json["param"] == "after"
    assert api.admin().get("/admin/v1/cache/entries?limit=101").json["param"] == "limit"
    assert stats(api)["entries"] == 1


def test_only_the_admin_key_may(api):
    fill(api, 1)
    key = api.admin().get("/admin/v1/cache/entries").json["data"][0]["key"]
    for method, path in (("GET", ""), ("DELETE", "?all=true"), ("GET", "/entries"), ("GET", f"/entries/{key}"), ("DELETE", f"/entries/{key}")):
        assert api.http().request(method, f"/admin/v1/cache{path}").status == 403
    assert stats(api)["entries"] == 1
