# SPDX-License-Identifier: Apache-2.0
"""Targets as operators see and steer them: what is shown, what each command does to the table, and what jobs see of it."""

import json
from urllib.parse import quote

import pytest

from stack import sql

NAME = "openai/gpt-4o-mini"


def config(stack_or_url, **more):
    """Two targets: `sim` of the default route, and one whose name has a slash, with limits."""
    return {"targets": {NAME: {"provider": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "sk-x", "model": "gpt-4o-mini", "place": "eu",
                               "limits": {"requests": 500, "concurrency": 10, "headroom": 0.5}, **more}}}


@pytest.fixture
def api(make_stack):
    """An api without workers: what the tables say is what the test wrote."""
    return make_stack(workers=0, simulator=False, config={**config(None), "routes": {"default": {"targets": [NAME]}}})


def get(stack, name=NAME, status=200):
    answer = stack.admin().get(f"/admin/v1/targets/{quote(name)}")
    assert answer.status == status, answer
    return answer.json


def order(stack, verb, name=NAME, status=200, body=None):
    answer = stack.admin().post(f"/admin/v1/targets/{name}/{verb}", body)
    assert answer.status == status, answer
    return answer.json


def kinds(target):
    return [e["kind"] for e in target["events"]]


def test_a_target_that_nobody_has_called_is_shown_as_configured(api):
    target = get(api)
    assert (target["name"], target["provider"], target["model"], target["place"], target["state"]) == (NAME, "openai", "gpt-4o-mini", "eu", "normal")
    assert target["configured"] is True and len(target["key_id"]) == 16 and "sk-x" not in json.dumps(target)
    assert target["breaker"] == {"state": "closed", "fails_in_row": 0, "opened_at": None, "reopen_at": None, "open_ms": 0, "successes": 0, "probe": None}
    assert target["limits"] == {"requests": {"limit": 500, "usable": 250, "taken": 0}, "concurrency": {"limit": 10, "usable": 5, "held": 0}}
    assert target["headroom"] == 0.5 and target["limits_learned"] is None and target["events"] == []
    nothing = {"calls": 0, "failures": 0, "retries": 0, "answered": 0, "first_token_ms": None, "latency_ms": None}
    assert target["last_minute"] == nothing and target["last_ten_minutes"] == nothing


def test_the_list_has_configured_targets_and_those_that_were_met(api):
    api.sql("insert into target_state (name, key_id) values ('old/one', 'abc'), ('zed', '')")
    listed = api.admin().get("/admin/v1/targets").json
    assert [(t["name"], t["configured"]) for t in listed["data"]] == [("old/one", False), (NAME, True), ("zed", False)] and not listed["has_more"]
    assert listed["data"][0]["provider"] is None and listed["data"][0]["key_id"] == "abc" and "events" not in listed["data"][0]
    first = api.admin().get("/admin/v1/targets?limit=2").json
    assert first["has_more"] and first["last_id"] == NAME
    assert [t["name"] for t in api.admin().get(f"/admin/v1/targets?limit=2&after={quote(NAME, '')}").json["data"]] == ["zed"]


def test_calls_limits_and_events_are_shown(api):
    api.sql("""insert into target_state (name, breaker, generation, fails_in_row, opened_at, reopen_at, open_ms, limits_learned)
        values (%s, 1, 1, 5, now(), now() + interval '30 s', 30000, '{"requests":{"limit":100}}')""", NAME)
    slot = "floor(extract(epoch from now()) / 10)::int8"
    api.sql(f"""insert into target_tick (name, slot, calls, failures, retries, latency_ms, first_token_ms, answered)
        values (%s, {slot}, 4, 2, 1, 3000, 500, 2), (%s, {slot} - 30, 6, 0, 0, 600, 60, 6), (%s, {slot} - 61, 99, 99, 99, 99, 99, 99)""", NAME, NAME, NAME)
    api.sql("insert into limit_bucket (key, taken) select %s, array_agg(case when n = 1 + floor(extract(epoch from now()))::int8 %% 64 then 7 else 0 end order by n)"
            " from generate_series(1, 64) n", f"target:{NAME}:requests")
    api.sql("""insert into target_event (name, kind, detail) select %s, 'opened', json_build_object('class', 'network', 'n', n)::text from generate_series(1, 101) n""",
            NAME)
    target = get(api)
    assert target["breaker"]["state"] == "open" and target["breaker"]["fails_in_row"] == 5 and target["breaker"]["open_ms"] == 30000
    assert target["limits_learned"] == {"requests": {"limit": 100}}
    assert target["last_minute"] == {"calls": 4, "failures": 2, "retries": 1, "answered": 2, "first_token_ms": 250, "latency_ms": 1500}
    assert target["last_ten_minutes"] == {"calls": 10, "failures": 2, "retries": 1, "answered": 8, "first_token_ms": 70, "latency_ms": 450}
    assert target["limits"]["requests"]["taken"] == 7
    assert len(target["events"]) == 100 and target["events"][0]["detail"] == {"class": "network", "n": 101} and target["events"][-1]["detail"]["n"] == 2


def test_what_was_taken_a_minute_ago_is_not_shown(api):
    api.sql("insert into limit_bucket (key, taken, at) values (%s, array_fill(3::int8, array[64]), now() - interval '40 s')", f"target:{NAME}:requests")
    # Of the 64 seconds until 40 s ago about twenty lie within the last minute.
    assert 3 * 18 <= get(api)["limits"]["requests"]["taken"] <= 3 * 22


def test_orders_are_idempotent_and_leave_an_event_with_their_reason(api):
    assert order(api, "pause", body={"reason": "the bill \"grows\""})["state"] == "paused"
    target = order(api, "pause")
    assert target["state"] == "paused" and kinds(target) == ["paused"] and target["events"][0]["detail"]["reason"] == 'the bill "grows"'
    assert order(api, "drain")["state"] == "draining"
    assert order(api, "resume")["state"] == "normal"
    target = order(api, "resume")
    assert kinds(target) == ["resumed", "draining", "paused"] and target["events"][0]["detail"]["reason"] is None
    assert api.sql("select admin, key_id = %s from target_state where name = %s", target["key_id"], NAME) == [(0, True)]


def test_a_reset_clears_all_but_the_operators_word(api):
    api.sql("""insert into target_state (name, admin, breaker, generation, fails_in_row, opened_at, reopen_at, open_ms, probe_by, probe_until, successes,
        parked_until, parked_why, disabled_at, disabled_why) values (%s, 1, 2, 8, 7, now(), now(), 60000, gen_random_uuid(), now(), 2,
        now() + interval '1 h', 'asked for', now(), 'provider_auth: no')""", NAME)
    target = order(api, "reset")
    assert target["state"] == "paused"
    assert {**target["breaker"], "opened_at": None} == {"state": "closed", "fails_in_row": 0, "opened_at": None, "reopen_at": None, "open_ms": 0,
                                                       "successes": 0, "probe": None}
    assert all(target[k] is None for k in ("parked_until", "parked_why", "disabled_at", "disabled_why"))
    assert api.sql("select generation, closed_at is not null from target_state where name = %s", NAME) == [(9, True)]
    assert kinds(order(api, "reset")) == ["reset"]  # there was nothing more to reset
    assert api.sql("select generation from target_state where name = %s", NAME) == [(9,)]
    api.sql("update target_state set closed_at = closed_at - interval '1 min'")
    api.sql("insert into target_tick (name, slot, calls, failures) values (%s, floor(extract(epoch from now()) / 10)::int8, 4, 3)", NAME)
    assert kinds(order(api, "reset")) == ["reset", "reset"]  # the window's failures are forgotten, too
    assert kinds(order(api, "reset")) == ["reset", "reset"]


def test_what_does_not_exist_cannot_be_ordered_about(api):
    for verb in ("pause", "resume", "drain", "reset"):
        assert order(api, verb, "nothing/here", 404)["code"] == "not_found"
    assert api.sql("select count(*) from target_state") == [(0,)] and api.sql("select count(*) from target_event") == [(0,)]
    get(api, "nothing/here", 404)
    api.sql("insert into target_state (name) values ('met/before')")
    assert order(api, "pause", "met/before")["configured"] is False
    assert api.admin().post("/admin/v1/targets/" + quote("met/before", "") + "/resume").json["state"] == "normal"


def test_mistakes_are_named(api):
    assert order(api, "pause", body={"why": "x"}, status=400)["param"] == "/why"
    assert order(api, "pause", body={"reason": 7}, status=400)["param"] == "/reason"
    order(api, "pause", body={"reason": "x" * 500})
    assert order(api, "resume", body={"reason": "x" * 501}, status=400)["code"] == "out_of_range"
    assert order(api, "resume", body=[], status=400)["code"] == "wrong_type"
    assert api.admin().get("/admin/v1/targets?limit=1001").json["param"] == "limit"
    assert api.admin().get("/admin/v1/targets?stat=x").json["param"] == "stat"
    assert get(api)["state"] == "paused"


def test_only_the_admin_key_may(api):
    http = api.http()
    for method, path in (("GET", ""), ("GET", f"/{NAME}"), ("POST", f"/{NAME}/pause"), ("POST", f"/{NAME}/reset")):
        assert http.request(method, f"/admin/v1/targets{path}").status == 403
    assert api.sql("select count(*) from target_event") == [(0,)]


def test_two_orders_at_once_end_in_one_state(api):
    """The row is made by whoever comes first; nobody's order is lost without a later one standing."""
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda n: api.admin().post(f"/admin/v1/targets/{NAME}/{'pause' if n % 2 else 'drain'}").status, range(16)))
    assert done == [200] * 16
    last = sql(api.db, "select kind from target_event order by id desc limit 1")[0][0]
    assert get(api)["state"] == last


def test_resume_and_reset_wake_the_jobs_that_wait_for_targets(api):
    def park(reason):
        job = api.submit("x")["id"][4:]
        api.sql("""with gone as (delete from ready where job_id = %s::uuid returning *)
            insert into parked (pass, tenant_id, token, expires_at, run_at, bucket, lane, job_id, priority, reason)
            select pass, tenant_id, token, expires_at, now() + interval '5 min', bucket, lane, job_id, priority, %s::int2 from gone""", job, reason)
        return job

    jobs = {reason: park(reason) for reason in (0, 1, 2, 3)}

    def woken():
        due = {str(r[0]).replace("-", "") for r in api.sql("select job_id from parked where run_at <= now()")}
        return sorted(reason for reason, job in jobs.items() if job in due)

    order(api, "pause")
    assert woken() == []
    order(api, "resume")
    assert woken() == [3]
    order(api, "reset")
    assert woken() == [2, 3]  # not those that are scheduled, or back off
