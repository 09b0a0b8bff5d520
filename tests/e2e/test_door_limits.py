# SPDX-License-Identifier: Apache-2.0
"""The limits at the door: requests a minute of a key and of a tenant, waiting jobs of a tenant; by one process and by several."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from stack import create_key, wait_until

JOB = {"request": {"messages": [{"role": "user", "content": "hello"}]}}


def post(stack, api=0, key=None, headers=None, path="/v1/jobs", body=None):
    return stack.http(api, key).post(path, JOB if body is None else body, headers=headers)


def many(stack, n, apis=1, key=None):
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda i: post(stack, i % apis, key), range(n)))


def statuses(answers):
    return sorted(a.status for a in answers)


def tiers(tier, **rates):
    return {"tiers": {"t": tier, "wide": {"submit": 1000}}, "rates": rates}


@pytest.fixture
def limited(make_stack):
    """limited({"submit": 5}, keys={"*": "t"}): an api (or more) without workers, so that jobs wait."""
    return lambda tier, apis=1, **rates: make_stack(apis=apis, workers=0, config=tiers(tier, **rates))


def age(stack):
    """What was counted is 64 seconds older: the counts of seconds are kept modulo 64."""
    stack.sql("update limit_bucket set at = at - interval '64 seconds' where key like 'door:%%'")


def test_without_a_limit_there_are_no_headers_and_no_row(stack):
    answer = post(stack)
    assert answer.status == 202 and not [h for h in answer.headers if "ratelimit" in h.lower()]
    assert stack.sql("select count(*) from limit_bucket where key like 'door:%%'") == [(0,)]


def test_a_key_may_send_its_limit_and_not_one_more(limited):
    stack = limited({"submit": 5}, keys={"*": "t"})
    answers = [post(stack) for _ in range(5)]
    assert statuses(answers) == [202] * 5
    assert [a.headers["x-ratelimit-remaining-requests"] for a in answers] == ["4", "3", "2", "1", "0"]
    assert answers[0].headers["RateLimit-Policy"] == '"key";q=5;w=60' and answers[0].headers["x-ratelimit-limit-requests"] == "5"
    assert answers[0].headers["RateLimit"].startswith('"key";r=4;t=')
    refused = post(stack)
    assert refused.status == 429 and refused.json["code"] == "rate_limited" and refused.json["retryable"] is True
    assert refused.headers["Content-Type"] == "application/problem+json" and "5 requests a minute" in refused.json["detail"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert int(refused.headers["Retry-After"]) == -(-int(refused.headers["retry-after-ms"]) // 1000)
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert stack.sql("select count(*) from job") == [(5,)]
    assert stack.http().get("/v1/jobs").status == 200  # reading is not submitting


def test_the_minute_slides(limited):
    stack = limited({"submit": 3}, keys={"*": "t"})
    assert statuses(many(stack, 4)) == [202, 202, 202, 429]
    age(stack)
    assert statuses(many(stack, 4)) == [202, 202, 202, 429]


def test_keys_have_limits_of_their_own_by_prefix(limited, keys):
    stack = limited({"submit": 2}, keys={keys["api_key"][:13]: "t"})
    other = create_key(stack.db, "second")
    assert statuses(many(stack, 3)) == [202, 202, 429]
    assert statuses(many(stack, 5, key=other)) == [202] * 5


def test_a_tenants_keys_share_its_limit(limited):
    stack = limited({"submit": 4}, tenants={"default": "t"}, keys={"*": "wide"})
    second, stranger = create_key(stack.db, "second"), create_key(stack.db, "other", "someone else")
    answers = many(stack, 3) + many(stack, 3, key=second)
    assert statuses(answers) == [202] * 4 + [429] * 2
    assert answers[0].headers["RateLimit-Policy"] == '"key";q=1000;w=60, "tenant";q=4;w=60'
    assert answers[0].headers["x-ratelimit-limit-requests"] == "4"
    assert statuses(many(stack, 6, key=stranger)) == [202] * 6


def test_what_the_tenants_limit_refuses_is_not_counted_for_the_key(limited):
    stack = limited({"submit": 2}, tenants={"*": "t"}, keys={"*": "wide"})
    assert statuses(many(stack, 20)) == [202] * 2 + [429] * 18

    def given_back():
        return stack.sql("select key like 'door:key:%%', (select sum(t) from unnest(taken) t)::int from limit_bucket where key like 'door:%%' order by 1") == [
            (False, 2), (True, 2)]

    wait_until(given_back, 10, "what was taken in vain being given back")


def test_two_processes_keep_one_limit(limited):
    stack = limited({"submit": 60}, apis=2, keys={"*": "t"})
    assert statuses(many(stack, 100, apis=2)) == [202] * 60 + [429] * 40
    age(stack)
    assert statuses(many(stack, 100, apis=2)) == [202] * 60 + [429] * 40


def test_batches_and_streams_count_as_one_request(limited):
    stack = limited({"submit": 2}, keys={"*": "t"})
    lines = "\n".join(json.dumps(JOB) for _ in range(10)).encode()
    assert post(stack, body=lines, headers={"Content-Type": "application/x-ndjson"}).status == 202
    assert post(stack, path="/v1/batches", body={"jobs": [JOB] * 10}).status == 202
    refused = post(stack, body=lines, headers={"Content-Type": "application/x-ndjson"})
    assert refused.status == 429 and refused.json["code"] == "rate_limited"
    assert post(stack, path="/v1/batches", body={"jobs": [JOB]}).status == 429
    assert stack.sql("select count(*) from job") == [(20,)]


def test_a_tenant_may_have_its_depth_waiting_and_not_one_more(limited):
    stack = limited({"max_depth": 3}, tenants={"default": "t"})
    assert statuses([post(stack) for _ in range(3)]) == [202] * 3
    refused = post(stack)
    assert refused.status == 429 and refused.json["code"] == "queue_full" and int(refused.headers["Retry-After"]) == 1
    assert refused.headers["retry-after-ms"] == "1000" and "RateLimit" not in refused.headers and "at most 3" in refused.json["detail"]
    assert statuses(many(stack, 5, key=create_key(stack.db, "other", "someone else"))) == [202] * 5
    assert stack.sql("select count(*) from ready") == [(8,)]


def test_scheduled_jobs_wait_too(limited):
    stack = limited({"max_depth": 2}, tenants={"*": "t"})
    later = {**JOB, "run_at": stack.sql("select to_char(now() + interval '1 day', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")[0][0]}
    assert post(stack, body=later).status == 202 and post(stack).status == 202
    assert post(stack, body=later).status == 429


def test_room_comes_back_when_jobs_have_run(limited):
    stack = limited({"max_depth": 4}, tenants={"*": "t"})
    assert statuses(many(stack, 8)) == [202] * 4 + [429] * 4
    stack.sql("delete from ready where job_id in (select job_id from ready order by job_id limit 3)")
    wait_until(lambda: post(stack).status == 202, 10, "the count being made again")
    assert statuses(many(stack, 5)) == [202] * 2 + [429] * 3


def test_a_flood_at_once_does_not_pass_the_depth(limited):
    stack = limited({"max_depth": 20}, tenants={"*": "t"})
    assert statuses(many(stack, 60)) == [202] * 20 + [429] * 40
    assert stack.sql("select count(*) from ready") == [(20,)]


def test_other_processes_see_each_others_jobs_a_second_later(limited):
    stack = limited({"max_depth": 10}, apis=2, tenants={"*": "t"})
    assert statuses(many(stack, 10)) == [202] * 10
    assert post(stack, api=1).status == 429  # its first count is made now
    done = many(stack, 40, apis=2)
    assert statuses(done) == [429] * 40


def test_a_known_key_is_answered_though_the_queue_is_full(limited):
    stack = limited({"max_depth": 2}, tenants={"*": "t"})
    first = post(stack, headers={"Idempotency-Key": "one"})
    assert first.status == 202 and post(stack).status == 202
    again = post(stack, headers={"Idempotency-Key": "one"})
    assert again.status == 202 and again.headers["Idempotent-Replayed"] == "true" and again.json["id"] == first.json["id"]
    new = post(stack, headers={"Idempotency-Key": "two"})
    assert new.status == 429 and new.json["code"] == "queue_full"
    assert stack.sql("select count(*) from job") == [(2,)]


def test_a_batch_needs_room_for_all_of_its_jobs(limited):
    stack = limited({"max_depth": 10}, tenants={"*": "t"})
    keyed = {"Idempotency-Key": "batch"}
    first = post(stack, path="/v1/batches", body={"jobs": [JOB] * 6}, headers=keyed)
    assert first.status == 202
    refused = post(stack, path="/v1/batches", body={"jobs": [JOB] * 5})
    assert refused.status == 429 and refused.json["code"] == "queue_full"
    again = post(stack, path="/v1/batches", body={"jobs": [JOB] * 6}, headers=keyed)
    assert again.status == 202 and again.json["id"] == first.json["id"]
    assert post(stack, path="/v1/batches", body={"jobs": [JOB] * 4}).status == 202
    never = post(stack, path="/v1/batches", body={"jobs": [JOB] * 11})
    assert never.status in (413, 429)
    stack.sql("delete from ready")
    wait_until(lambda: post(stack, path="/v1/batches", body={"jobs": [JOB] * 11}).status == 413, 10, "room for ten, not for eleven")
    assert post(stack, path="/v1/batches", body={"jobs": [JOB] * 10}).status == 202
    assert stack.sql("select count(*) from ready") == [(10,)]


def test_what_is_refused_for_other_reasons_takes_no_room(limited):
    stack = limited({"max_depth": 1}, tenants={"*": "t"})
    for _ in range(5):
        assert post(stack, body={"request": {}}).status == 400
    assert post(stack).status == 202 and post(stack).status == 429


def test_a_reload_changes_the_limits(limited):
    stack = limited({"submit": 1}, keys={"*": "t"})
    assert statuses(many(stack, 2)) == [202, 429]
    stack.apis[0].reconfigure({"tiers": {"t": {"submit": 3}}})
    wait_until(lambda: post(stack).status == 202, 10, "the new limit")
    assert statuses(many(stack, 3)) == [202, 429, 429]
