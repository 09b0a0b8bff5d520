# SPDX-License-Identifier: Apache-2.0
"""Batches whose lines stand in a file: created, validated, loaded, run, canceled; by OpenAI's rules and beyond them."""

import json

import pytest

import forms
from batchfile import as_jsonl, chat_line, create, fetch, line, start, upload, wait_for_batch
from faults import script
from stack import Worker, create_key, wait_until

PRICED = {"targets": {"sim": {"max_output_tokens": 200}}}


@pytest.fixture
def stack(make_stack):
    return make_stack()


@pytest.fixture
def door(make_stack):
    """Nobody runs the jobs."""
    return make_stack(workers=0, simulator=True)


def content(stack, file_id):
    answer = stack.http().get(f"/v1/files/{file_id}/content", timeout=60)
    assert answer.status == 200, answer
    return [json.loads(x) for x in answer.body.splitlines()]


def refusal(answer, status, param):
    assert answer.status == status, answer
    error = answer.json["error"]
    assert error["param"] == param and error["message"] and error["type"] == "invalid_request_error", error
    return error


def test_from_file_to_jobs(stack):
    file_id = upload(stack, [chat_line(f"r{i}", f"say {i}") for i in range(20)])
    created = create(stack, file_id, metadata={"customer": "acme"}, headers={"Idempotency-Key": "b1"})
    assert created.status == 200
    batch = created.json
    assert batch["object"] == "batch" and batch["status"] == "validating" and batch["id"].startswith("batch_")
    assert batch["endpoint"] == "/v1/chat/completions" and batch["completion_window"] == "24h"
    assert batch["input_file_id"] == file_id and batch["metadata"] == {"customer": "acme"}
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert batch["expires_at"] == batch["created_at"] + 86400 and batch["errors"] is None
    assert batch["output_file_id"] is None and batch["error_file_id"] is None and batch["in_progress_at"] is None
    again = create(stack, file_id, metadata={"customer": "acme"}, headers={"Idempotency-Key": "b1"})
    assert again.status == 200 and again.json["id"] == batch["id"] and again.headers["Idempotent-Replayed"] == "true"
    assert create(stack, file_id, headers={"Idempotency-Key": "b1"}).status == 422
    done = wait_for_batch(stack, batch["id"], "completed")
    assert done["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
    assert done["model"] == "default" and done["millrace"]["loaded"] == 20
    assert done["created_at"] <= done["in_progress_at"] <= done["finalizing_at"] <= done["completed_at"]
    assert done["failed_at"] is None and done["expired_at"] is None and done["cancelled_at"] is None and done["cancelling_at"] is None
    assert done["usage"]["total_tokens"] == done["usage"]["input_tokens"] + done["usage"]["output_tokens"] > 0
    rows = stack.sql("select custom_id, batch_index, form, priority from job order by batch_index")
    assert rows == [(f"r{i}", i, 1, 4) for i in range(20)]
    assert {x["custom_id"] for x in content(stack, done["output_file_id"])} == {f"r{i}" for i in range(20)}
    assert done["error_file_id"] is None


def test_the_list_shows_each_batch_in_its_own_form(stack):
    made = start(stack, [chat_line("a")])
    native = stack.http().post("/v1/batches", {"jobs": [stack.body("b")]}).json
    page = stack.http().get("/v1/batches").json
    assert page["object"] == "list" and [b["id"] for b in page["data"]] == [native["id"], made["id"]] and page["has_more"] is False
    assert "total" in page["data"][0] and "request_counts" in page["data"][1]
    wait_for_batch(stack, made["id"], "completed")
    first = stack.http().get("/v1/batches?limit=1").json
    assert first["has_more"] is True
    assert [b["status"] for b in stack.http().get(f"/v1/batches?after={first['last_id']}").json["data"]] == ["completed"]


def test_waiting_and_etag_know_when_the_output_is_there(stack):
    batch = start(stack, [chat_line("a")])
    answer = stack.http().get(f"/v1/batches/{batch['id']}?wait=30", timeout=40)
    assert answer.json["status"] == "completed" and answer.json["output_file_id"]
    same = stack.http().get(f"/v1/batches/{batch['id']}", headers={"If-None-Match": answer.headers["ETag"]})
    assert same.status == 304


def test_what_is_no_batch_is_refused_in_openais_form(door):
    http = door.http()
    file_id = upload(door, [chat_line("a")])
    good = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    for change, status, param in [
        ({"input_file_id": None}, 400, "input_file_id"),
        ({"endpoint": None}, 400, "endpoint"),
        ({"completion_window": None}, 400, "completion_window"),
        ({"endpoint": "/v1/moderations"}, 400, "endpoint"),
        ({"endpoint": "/v2/chat"}, 400, "endpoint"),
        ({"completion_window": "366d"}, 400, "completion_window"),
        ({"input_file_id": "file-" + "0" * 32}, 404, "input_file_id"),
        ({"input_file_id": "file-1"}, 404, "input_file_id"),
        ({"metadata": {"a": 1}}, 400, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, 400, "output_expires_after.seconds"),
        ({"millrace": {"max_cost_usd": 1}}, 400, "millrace.max_cost_usd"),
        ({"what": 1}, 400, "what"),
    ]:
        refusal(http.post("/v1/batches", {**good, **change}), status, param)
    other = forms.upload(http, b"{}\n", "user_data", name="x.jsonl").json["id"]
    refusal(http.post("/v1/batches", {**good, "input_file_id": other}), 400, "input_file_id")
    stranger = create_key(door.db, "stranger", tenant="stranger")
    refusal(door.http(key=stranger).post("/v1/batches", good), 404, "input_file_id")
    assert door.sql("select count(*) from batch") == [(0,)] and door.sql("select count(*) from batch_file") == [(0,)]


def test_every_fault_of_a_file_is_told_by_line(make_stack):
    stack = make_stack(workers=0, simulator=True, config={"limits": {"body_bytes": "20KiB"}, "models": None})
    body = chat_line("x")["body"]
    lines = [
        ("{not json", "invalid_json_line", None),
        ("[1]", "invalid_json_line", None),
        (chat_line("ok"), None, None),
        ({"method": "POST", "url": "/v1/chat/completions", "body": body}, "missing_required_parameter", "custom_id"),
        ({"custom_id": "m", "url": "/v1/chat/completions", "body": body}, "missing_required_parameter", "method"),
        ({"custom_id": "u", "method": "POST", "body": body}, "missing_required_parameter", "url"),
        ({"custom_id": "b", "method": "POST", "url": "/v1/chat/completions"}, "missing_required_parameter", "body"),
        (line("g", body, method="GET"), "invalid_method", "method"),
        (line("f", body, url="/v1/files"), "invalid_url", "url"),
        (line("e", body, url="/v1/embeddings"), "url_mismatch", "url"),
        (chat_line("ok"), "duplicate_custom_id", "custom_id"),
        (chat_line("n", model="nobody"), "model_not_found", "body.model"),
        (chat_line("r", messages=[{"role": "boss", "content": "x"}]), "invalid_request", "body.messages[0].role"),
        (chat_line("p", millrace={"priority": 11}), "invalid_request", "body.millrace.priority"),
        (chat_line("l", "x" * 30000), "line_too_long", None),
        ("", None, None),
        (chat_line("t", file_id="x", messages=[{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-" + "0" * 32}}]}]),
         "invalid_request", "body.messages[0].content[0].file.file_id"),
    ]
    batch = start(stack, [x[0] for x in lines])
    failed = wait_for_batch(stack, batch["id"], "failed")
    told = [(e["line"], e["code"], e["param"]) for e in failed["errors"]["data"]]
    assert told == [(n, code, param) for n, (_, code, param) in enumerate(lines, 1) if code]
    assert failed["errors"]["object"] == "list" and all(e["message"] for e in failed["errors"]["data"])
    assert failed["failed_at"] and failed["completed_at"] is None and failed["in_progress_at"] is None
    assert failed["request_counts"] == {"total": 0, "completed": 0, "failed": 0} and failed["millrace"]["error_count"] == len(told)
    assert stack.sql("select count(*) from job") == [(0,)]


def test_faults_of_the_whole_file(make_stack):
    stack = make_stack(workers=0, simulator=True, config={"limits": {"batch_file_lines": 150}})

    def codes(lines, **how):
        failed = wait_for_batch(stack, start(stack, lines, **how)["id"], "failed")
        return [(e["code"], e["line"]) for e in failed["errors"]["data"]], failed

    assert codes([""])[0] == [("empty_file", None)]
    assert codes([chat_line(str(i)) for i in range(151)])[0] == [("too_many_tasks", None)]
    inputs = [line(str(i), {"model": "default", "input": ["x"] * 51}, url="/v1/embeddings") for i in range(4)]
    assert codes(inputs, endpoint="/v1/embeddings")[0] == [("too_many_tasks", None)]
    told, failed = codes(["bad"] * 120)
    assert len(told) == 100 and failed["millrace"]["error_count"] == 120 and told[99] == ("invalid_json_line", 100)


def test_any_model_priority_and_embeddings(make_stack):
    stack = make_stack(config={"routes": {"other": {"targets": ["sim"]}}})
    batch = start(stack, [chat_line("a"), chat_line("b", model="other", millrace={"priority": 9, "max_attempts": 2}), chat_line("c", model="sim-x")],
                  millrace={"priority": 1})
    done = wait_for_batch(stack, batch["id"], "completed")
    assert done["model"] is None and done["millrace"]["priority"] == 1
    assert stack.sql("select custom_id, route, priority, max_attempts from job order by batch_index") == [
        ("a", "default", 1, 5), ("b", "other", 9, 2), ("c", "sim-x", 1, 5)]
    embeddings = start(stack, [line("e", {"model": "default", "input": ["x", "y"]}, url="/v1/embeddings")], endpoint="/v1/embeddings")
    done = wait_for_batch(stack, embeddings["id"], "completed")
    assert len(content(stack, done["output_file_id"])[0]["response"]["body"]["data"]) == 2


def test_responses_completions_and_files_in_lines(stack):
    document = forms.upload(stack.http(), b"The river Rhine is 1233 km long.", name="rhine.txt", content_type="text/plain").json["id"]
    parts = [{"type": "file", "file": {"file_id": document}}, {"type": "text", "text": "How long?"}]
    batches = {
        "/v1/responses": {"model": "default", "input": "say hello", "instructions": "be short"},
        "/v1/completions": {"model": "default", "prompt": "say hello"},
        "/v1/chat/completions": {"model": "default", "messages": [{"role": "user", "content": parts}]},
    }
    made = {url: start(stack, [line("a", body, url=url)], endpoint=url)["id"] for url, body in batches.items()}
    for url, kind in (("/v1/responses", "response"), ("/v1/completions", "text_completion"), ("/v1/chat/completions", "chat.completion")):
        done = wait_for_batch(stack, made[url], "completed")
        assert done["endpoint"] == url and done["request_counts"]["completed"] == 1, done
        assert content(stack, done["output_file_id"])[0]["response"]["body"]["object"] == kind
    stored = stack.sql("select body from payload join job on id = job_id and form = 1")[0][0]
    assert "data:text/plain;base64," in stored and document not in stored


def test_a_line_goes_on_from_a_stored_response(stack):
    """previous_response_id means in a batch what it means for the call itself."""
    http = stack.http()
    first = http.post("/v1/responses", {"model": "default", "input": "My name is Ada."}).json
    unstored = http.post("/v1/responses", {"model": "default", "input": "Forget me.", "store": False}).json
    lines = [line("goes-on", {"model": "default", "input": "What is my name?", "previous_response_id": first["id"]}, "/v1/responses"),
             line("alone", {"model": "default", "input": "What is my name?"}, "/v1/responses")]
    batch = wait_for_batch(stack, start(stack, lines, endpoint="/v1/responses")["id"], "completed")
    asked = dict(stack.sql("select j.custom_id, p.body from job j join payload p on p.job_id = j.id where j.custom_id is not null"))
    messages = json.loads(asked["goes-on"])["request"]["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant", "user"] and "Ada" in json.dumps(messages[0])
    assert len(json.loads(asked["alone"])["request"]["messages"]) == 1
    rows = {row["custom_id"]: row for row in content(stack, batch["output_file_id"])}
    assert rows["goes-on"]["response"]["body"]["previous_response_id"] == first["id"]
    assert rows["alone"]["response"]["body"]["previous_response_id"] is None

    other = stack.http(key=create_key(stack.db, "other", tenant="other")).post("/v1/responses", {"model": "default", "input": "Mine."}).json
    names = [unstored["id"], other["id"], "resp_" + "0" * 32, "resp_1"]
    lines = [line(f"p{i}", {"model": "default", "input": "x", "previous_response_id": name}, "/v1/responses") for i, name in enumerate(names)]
    failed = wait_for_batch(stack, start(stack, lines, endpoint="/v1/responses")["id"], "failed")
    assert [(e["code"], e["param"], e["line"]) for e in failed["errors"]["data"]] == [
        ("previous_response_not_found", "body.previous_response_id", n) for n in (1, 2, 3, 4)]


def test_a_dry_run_makes_no_job(door):
    batch = start(door, [chat_line(str(i), "x" * 400, max_tokens=100) for i in range(10)], millrace={"dry_run": True})
    done = wait_for_batch(door, batch["id"], "completed")
    assert done["request_counts"] == {"total": 10, "completed": 0, "failed": 0}
    assert done["completed_at"] and done["in_progress_at"] is None and done["output_file_id"] is None
    own = done["millrace"]
    assert own["dry_run"] is True and own["estimated_input_tokens"] == 10 * 115 and own["counts"]["queued"] == 0
    # 115 tokens at 0.15 and 100 at 0.60 dollars per million, ten times
    assert abs(float(own["estimated_cost_usd"]) - 10 * (115 * 0.15 + 100 * 0.60) / 1e6) < 1e-8
    assert door.sql("select count(*) from job") == [(0,)]


def test_another_completion_window(door):
    batch = start(door, [chat_line("a")], window="90m")
    assert batch["completion_window"] == "90m" and batch["expires_at"] == batch["created_at"] + 5400
    wait_until(lambda: door.sql("select count(*) from job") == [(1,)], 10, "the job")
    assert door.sql("select j.expires_at = f.expires_at from job j join batch_file f on f.id = j.batch_id") == [(True,)]


def test_a_cancel_at_half_keeps_what_has_ended(make_stack):
    stack = make_stack(config={"worker": {"slots": 20}})
    script(stack, latency_ms=100)
    batch = start(stack, [chat_line(f"r{i}") for i in range(600)])
    wait_until(lambda: fetch(stack, batch["id"])["request_counts"]["completed"] > 100, 30, "a part of the batch")
    canceled = stack.http().post(f"/v1/batches/{batch['id']}/cancel")
    assert canceled.status == 200 and canceled.json["status"] == "cancelling" and canceled.json["cancelling_at"]
    over = wait_for_batch(stack, batch["id"], "cancelled")
    completed = over["request_counts"]["completed"]
    assert over["cancelled_at"] and over["request_counts"]["total"] == 600 and 100 < completed < 600
    assert len({x["custom_id"] for x in content(stack, over["output_file_id"])}) == completed
    assert stack.http().post(f"/v1/batches/{batch['id']}/cancel").json["status"] == "cancelled"


def test_a_cancel_while_lines_become_jobs(make_stack):
    """The process sleeps for a second when a group is written: the cancel comes before the last one."""
    stack = make_stack(workers=0, simulator=True, env={"MILLRACE_FAULTS": "batch.after_load=sleep:1000"})
    batch = start(stack, [chat_line(f"r{i}") for i in range(2000)])
    wait_until(lambda: stack.sql("select loaded from batch_file")[0][0] >= 500, 20, "the first group")
    stack.http().post(f"/v1/batches/{batch['id']}/cancel")
    stack.workers.append(Worker(stack.workdir, 9, dict(stack.config), stack.env).start())
    over = wait_for_batch(stack, batch["id"], "cancelled")
    jobs = stack.sql("select count(*) from job")[0][0]
    assert over["request_counts"]["total"] == 2000 and 500 <= jobs < 2000
    assert over["millrace"]["counts"]["canceled"] == 2000 and over["millrace"]["counts"]["queued"] == 0


def test_a_cancel_while_the_file_is_validated(make_stack):
    stack = make_stack(workers=0, simulator=True, start=False)
    for process in [stack.simulator, *stack.apis]:
        process.start()
    file_id = upload(stack, [chat_line("a")])
    # It is due for nobody: as if the process that keeps it were slow.
    stack.sql("alter table batch_file alter column keeper set default gen_random_uuid(), alter column keeper_until set default now() + interval '1 hour'")
    batch = create(stack, file_id).json
    canceled = stack.http().post(f"/v1/batches/{batch['id']}/cancel").json
    assert canceled["status"] == "cancelling"
    stack.sql("update batch_file set keeper = null, keeper_until = null")
    over = wait_for_batch(stack, batch["id"], "cancelled")
    assert over["request_counts"]["total"] == 0 and over["cancelled_at"] and over["output_file_id"] is None
    assert stack.sql("select count(*) from job") == [(0,)]


def test_a_batch_past_its_deadline_has_a_line_for_each_that_never_ran(make_stack):
    stack = make_stack()
    stack.sql("alter table batch_file alter column keeper set default gen_random_uuid(), alter column keeper_until set default now() + interval '1 hour'")
    batch = start(stack, [chat_line(f"r{i}") for i in range(700)])
    stack.sql("update batch_file set keeper = null, keeper_until = null, expires_at = now()")
    over = wait_for_batch(stack, batch["id"], "expired")
    assert over["expired_at"] and over["request_counts"] == {"total": 700, "completed": 0, "failed": 0}
    lines = content(stack, over["error_file_id"])
    assert {x["custom_id"] for x in lines} == {f"r{i}" for i in range(700)} and {x["error"]["code"] for x in lines} == {"batch_expired"}
    assert over["output_file_id"] is None


def real_cost(stack):
    return int(stack.sql("select coalesce(sum(cost_nanousd), 0) from attempt")[0][0])


def test_a_cost_cap_is_never_passed(make_stack):
    stack = make_stack(config=PRICED)
    lines = [chat_line(f"r{i}", "word " * 100, max_tokens=50) for i in range(60)]
    free = wait_for_batch(stack, start(stack, lines)["id"], "completed")
    spent = real_cost(stack)
    assert abs(float(free["millrace"]["cost_usd"]) - spent / 1e9) < 1e-9
    cap = spent // 2
    text = f"{cap // 10**9}.{cap % 10**9:09d}"
    capped = wait_for_batch(stack, start(stack, lines, millrace={"max_cost_usd": text})["id"], "completed", limit=120)
    counts = capped["millrace"]["counts"]
    assert capped["millrace"]["capped"] is True and float(capped["millrace"]["max_cost_usd"]) == cap / 1e9
    assert counts["succeeded"] + counts["canceled"] == 60 and counts["succeeded"] >= 10
    assert cap // 3 < real_cost(stack) - spent <= cap
    left = content(stack, capped["error_file_id"])
    assert len(left) == counts["canceled"] and {x["error"]["code"] for x in left} == {"batch_cost_cap"}


def test_a_cost_cap_that_is_large_enough_lets_all_run(make_stack):
    stack = make_stack(config=PRICED)
    done = wait_for_batch(stack, start(stack, [chat_line(f"r{i}") for i in range(50)], millrace={"max_cost_usd": "1.00"})["id"], "completed")
    assert done["request_counts"]["completed"] == 50 and done["millrace"]["capped"] is False
    assert stack.sql("select count(*) from job where bound_nanousd > 0") == [(50,)]


def waiting_for_room(make_stack):
    """A batch whose cap lets a few lines become jobs, which nobody runs."""
    stack = make_stack(workers=0, simulator=True, config=PRICED)
    batch = start(stack, [chat_line(f"r{i}", max_tokens=50) for i in range(300)], millrace={"max_cost_usd": "0.001"})
    loaded = wait_until(lambda: stack.sql("select loaded from batch_file where keeper is null and stage = 1 and loaded > 0"), 20, "the first jobs")[0][0]
    assert 0 < loaded < 300 and stack.sql("select sum(bound_nanousd) <= 1000000 from job") == [(True,)]
    return stack, batch["id"], loaded


def test_a_batch_that_waits_for_room_can_be_canceled(make_stack):
    stack, batch_id, loaded = waiting_for_room(make_stack)
    stack.http().post(f"/v1/batches/{batch_id}/cancel")
    wait_until(lambda: stack.sql("select sum(canceled) from batch_delta") == [(300,)], 10, "all lines being canceled")
    assert stack.sql("select stage, loaded from batch_file") == [(2, loaded)]


def test_the_lines_of_a_file_that_is_gone_count_as_failed(make_stack):
    stack, batch_id, loaded = waiting_for_room(make_stack)
    stack.sql("delete from file")
    counts = wait_until(lambda: (c := fetch(stack, batch_id)["millrace"]["counts"])["failed"] and c, 10, "the failed lines")
    assert counts["failed"] == 300 - loaded and counts["queued"] == loaded


def has_lines(stack, n):
    """What a validation that is left out would have counted."""
    stack.sql(f"create function lines() returns trigger language plpgsql as $$ begin new.total = {n}; return new; end $$")
    stack.sql("create trigger lines before insert on batch for each row execute function lines()")


def test_a_file_that_is_shorter_than_it_was_ends_its_batch(stack):
    stack.sql("alter table batch_file alter column stage set default 1")
    has_lines(stack, 5)
    done = wait_for_batch(stack, start(stack, [chat_line("a"), chat_line("b")])["id"], "completed")
    assert done["request_counts"] == {"total": 5, "completed": 2, "failed": 3}


def test_a_line_whose_route_is_gone_when_it_is_loaded_fails(make_stack):
    stack = make_stack(simulator=True, config={"routes": {"other": {"targets": ["sim"]}}, "models": None})
    stack.sql("alter table batch_file alter column stage set default 1")  # as if it had been valid before the configuration changed
    has_lines(stack, 2)
    done = wait_for_batch(stack, start(stack, [chat_line("a"), chat_line("b", model="never")])["id"], "completed")
    assert done["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    failed, = content(stack, done["error_file_id"])
    assert failed["custom_id"] == "b"


def test_a_cost_cap_needs_to_know_what_a_line_can_cost(make_stack):
    stack = make_stack(workers=0, simulator=True, config={"targets": {"unpriced": {"provider": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}}})
    failed = wait_for_batch(stack, start(stack, [chat_line("a", max_tokens=5), chat_line("b"), chat_line("c", model="unpriced", max_tokens=5)],
                                         millrace={"max_cost_usd": "1"})["id"], "failed")
    assert [(e["line"], e["code"]) for e in failed["errors"]["data"]] == [(2, "cost_unknown"), (3, "cost_unknown")]


def test_a_failed_batch_tells_its_webhook(make_stack):
    stack = make_stack(simulator=True)
    batch = start(stack, ["bad"], millrace={"webhook": {"url": "http://127.0.0.1:1/hook"}})
    failed = wait_for_batch(stack, batch["id"], "failed")
    assert failed["millrace"]["webhook"] == {"url": "http://127.0.0.1:1/hook"}
    assert stack.sql("select event, url from webhook_delivery") == [("batch.failed", "http://127.0.0.1:1/hook")]


def most_memory(process):
    """In KiB."""
    with open(f"/proc/{process.popen.pid}/status", encoding="ascii") as status:
        return int(status.read().split("VmHWM:")[1].split()[0])


def test_memory_does_not_grow_with_the_file(make_stack):
    """5,000 lines and 40 MB; the sanitizers keep little of what was freed, so that it can be seen."""
    stack = make_stack(workers=0, simulator=True, env={"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:quarantine_size_mb=1"})
    filler = "x" * 8000
    small = upload(stack, [chat_line(f"s{i}", filler) for i in range(1000)])
    large = upload(stack, [chat_line(f"r{i}", filler) for i in range(5000)])
    create(stack, small)
    wait_until(lambda: stack.sql("select max(loaded) from batch_file") == [(1000,)], 60, "the lines of the small file being jobs")
    before = most_memory(stack.apis[0])
    create(stack, large)
    wait_until(lambda: stack.sql("select max(loaded) from batch_file") == [(5000,)], 120, "the lines of the large file being jobs")
    assert most_memory(stack.apis[0]) - before < 16 * 1024
