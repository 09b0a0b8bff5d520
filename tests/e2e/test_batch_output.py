# SPDX-License-Identifier: Apache-2.0
"""What comes out of a batch from a file: an output and an error file that hold every line once, whatever happens on the way; retries; webhooks."""

import json
from collections import Counter

import pytest

from batchfile import chat_line, create, fetch, line, start, upload, wait_for_batch
from stack import wait_until
from test_worker_webhooks import Receiver, secret_of, verify

DAY = 86400


@pytest.fixture
def stack(make_stack):
    return make_stack()


@pytest.fixture
def receiver():
    r = Receiver()
    yield r
    r.server.shutdown()
    r.server.server_close()


def script(stack, **models):
    stack.simulator.http().post("/_control", {"reset": True, "models": models})


def rows_of(stack, file_id):
    """The lines of an output file; none where there is no file."""
    if file_id is None:
        return []
    content = stack.http().get(f"/v1/files/{file_id}/content")
    assert content.status == 200, content
    return [json.loads(row) for row in content.body.splitlines()]


def outputs(stack, batch):
    return rows_of(stack, batch["output_file_id"]), rows_of(stack, batch["error_file_id"])


def names(rows):
    return [row["custom_id"] for row in rows]


def spent(stack, batch_id):
    return stack.sql("""select sum(a.input_tokens)::int8, sum(a.output_tokens)::int8 from attempt a join job j on j.id = a.job_id
        where j.batch_id = %s::uuid""", batch_id[6:])[0]


def test_each_line_is_in_one_file_in_the_order_of_the_input(stack):
    script(stack, broken={"error_class": "bad_request"})
    lines = [chat_line(f"r{i:03}", f"say {i}", model="broken" if i % 7 == 3 else "any-model") for i in range(60)]
    batch = wait_for_batch(stack, start(stack, lines)["id"], "completed")
    good, bad = outputs(stack, batch)
    assert names(good) == [f"r{i:03}" for i in range(60) if i % 7 != 3] and names(bad) == [f"r{i:03}" for i in range(60) if i % 7 == 3]
    assert batch["request_counts"] == {"total": 60, "completed": len(good), "failed": len(bad)}
    for row in good:
        assert set(row) == {"id", "custom_id", "response", "error"} and row["id"].startswith("batch_req_") and row["error"] is None
        body = row["response"]["body"]
        assert row["response"]["status_code"] == 200 and row["response"]["request_id"] == row["id"].replace("batch_req_", "job_")
        assert body["object"] == "chat.completion" and body["id"] == row["id"].replace("batch_req_", "chatcmpl-") and body["model"]
        assert body["choices"][0]["message"]["content"] and body["usage"]["total_tokens"] > 0
    for row in bad:
        assert row["error"] is None and row["response"]["status_code"] == 400
        assert row["response"]["body"]["error"]["type"] == "invalid_request_error"
    assert (batch["usage"]["input_tokens"], batch["usage"]["output_tokens"]) == spent(stack, batch["id"])
    assert batch["finalizing_at"] and batch["completed_at"] >= batch["finalizing_at"] >= batch["in_progress_at"]
    for key, suffix in (("output_file_id", "output"), ("error_file_id", "error")):
        file = stack.http().get(f"/v1/files/{batch[key]}").json
        assert file["purpose"] == "batch_output" and file["filename"] == f"{batch['id']}_{suffix}.jsonl"
        assert file["expires_at"] - file["created_at"] == 30 * DAY
        assert file["bytes"] == len(stack.http().get(f"/v1/files/{batch[key]}/content").body)
    assert stack.sql("select count(*) from blob where state <> 1") == [(0,)]


def test_a_side_without_lines_has_no_file(stack):
    script(stack, broken={"error_class": "bad_request"})
    after = {"output_expires_after": {"anchor": "created_at", "seconds": 7200}}
    good = wait_for_batch(stack, start(stack, [chat_line("a")], **after)["id"], "completed")
    assert good["output_file_id"] and good["error_file_id"] is None
    file = stack.http().get(f"/v1/files/{good['output_file_id']}").json
    assert file["expires_at"] - file["created_at"] == 7200
    bad = wait_for_batch(stack, start(stack, [chat_line("a", model="broken")])["id"], "completed")
    assert bad["output_file_id"] is None and names(rows_of(stack, bad["error_file_id"])) == ["a"]


@pytest.mark.parametrize("endpoint, body, kind", [
    ("/v1/embeddings", {"model": "any", "input": "hello", "encoding_format": "base64"}, "list"),
    ("/v1/completions", {"model": "any", "prompt": "Say a word."}, "text_completion"),
    ("/v1/responses", {"model": "any", "input": "hello", "instructions": "Be brief."}, "response"),
])
def test_bodies_are_in_the_form_of_the_endpoint(endpoint, body, kind, stack):
    answer = create(stack, upload(stack, [line("x", body, url=endpoint)]), endpoint=endpoint)
    assert answer.status == 200, answer
    good, bad = outputs(stack, wait_for_batch(stack, answer.json["id"], "completed"))
    assert bad == [] and len(good) == 1
    told = good[0]["response"]["body"]
    assert told["object"] == kind
    if kind == "list":
        assert isinstance(told["data"][0]["embedding"], str)
    if kind == "response":
        assert told["instructions"] == "Be brief." and told["status"] == "completed"


def test_a_canceled_batch_gives_what_it_has(stack):
    script(stack, slow={"latency_ms": 60000})
    lines = [chat_line(f"r{i}", model="slow" if i % 2 else "quick") for i in range(40)]
    batch = start(stack, lines)
    wait_until(lambda: fetch(stack, batch["id"])["request_counts"]["completed"] == 20, 30, "the quick half")
    assert stack.http().post(f"/v1/batches/{batch['id']}/cancel").status == 200
    done = wait_for_batch(stack, batch["id"], "cancelled")
    good, bad = outputs(stack, done)
    assert names(good) == [f"r{i}" for i in range(0, 40, 2)] and bad == [] and done["cancelled_at"] and done["error_file_id"] is None


def test_what_did_not_run_in_its_window_is_expired(make_stack):
    stack = make_stack(workers=1)
    script(stack, slow={"latency_ms": 60000})
    batch = start(stack, [chat_line("quick", model="quick"), chat_line("slow", model="slow")], window="1m")
    wait_until(lambda: fetch(stack, batch["id"])["request_counts"]["completed"] == 1, 30, "the quick one")
    stack.sql("update batch_file set expires_at = now()")
    stack.workers[0].kill()
    stack.sql("update lease set expires_at = now()")
    stack.workers[0].start()
    done = wait_for_batch(stack, batch["id"], "expired")
    good, bad = outputs(stack, done)
    assert names(good) == ["quick"] and names(bad) == ["slow"] and done["expired_at"]
    assert bad[0]["response"] is None and bad[0]["error"]["code"] == "batch_expired"


def test_results_can_be_read_by_name_while_it_runs(stack):
    script(stack, slow={"latency_ms": 60000})
    batch = start(stack, [chat_line("first", model="quick"), chat_line("second", model="slow")])
    path = f"/v1/batches/{batch['id']}/results"
    rows = wait_until(lambda: stack.http().get(path).text.splitlines(), 30, "a result")
    assert [(row["custom_id"], row["index"], row["status"]) for row in map(json.loads, rows)] == [("first", 0, "succeeded")]
    both = [json.loads(row) for row in stack.http().get(path + "?all=true").text.splitlines()]
    assert [(row["custom_id"], row["status"]) for row in both] == [("first", "succeeded"), ("second", "running")]
    assert stack.get(both[1]["id"])["custom_id"] == "second"
    stack.http().post(f"/v1/batches/{batch['id']}/cancel")


def test_failed_lines_are_retried_and_the_output_is_written_anew(stack):
    script(stack, flaky={"error_class": "bad_request"})
    lines = [chat_line(f"r{i}", model="flaky" if i % 2 else "good") for i in range(10)]
    first = wait_for_batch(stack, start(stack, lines)["id"], "completed")
    assert first["request_counts"] == {"total": 10, "completed": 5, "failed": 5}
    script(stack)
    retried = stack.http().post(f"/v1/batches/{first['id']}/retry")
    assert retried.status in (200, 202) and retried.json["status"] == "in_progress", retried
    assert retried.json["output_file_id"] is None and retried.json["completed_at"] is None
    done = wait_for_batch(stack, first["id"], "completed")
    good, bad = outputs(stack, done)
    assert names(good) == [f"r{i}" for i in range(10)] and bad == [] and done["error_file_id"] is None
    assert done["request_counts"] == {"total": 10, "completed": 10, "failed": 0}
    assert (done["usage"]["input_tokens"], done["usage"]["output_tokens"]) == spent(stack, done["id"])
    assert len(rows_of(stack, first["output_file_id"])) == 5 and len(rows_of(stack, first["error_file_id"])) == 5
    assert stack.http().post(f"/v1/batches/{first['id']}/retry").status == 409


@pytest.mark.parametrize("point", ["db.send.batch_output_page", "db.send.blob_chunk_add", "db.send.batch_output_finish", "db.result.batch_output_finish"])
def test_an_api_that_dies_while_it_writes_the_output_loses_nothing(point, make_stack, receiver):
    stack = make_stack(apis=1)
    script(stack, **{"*": {"latency_ms": 1500}})  # it must not be over before the api is killed
    batch = start(stack, [chat_line(f"r{i}") for i in range(30)], millrace={"webhook": {"url": receiver.url}})
    wait_until(lambda: fetch(stack, batch["id"])["status"] == "in_progress", 20, "its lines to be jobs")
    stack.apis[0].kill()
    stack.apis[0].env["MILLRACE_FAULTS"] = f"{point}=exit"
    stack.apis[0].start()
    wait_until(lambda: not stack.apis[0].is_running(), 40, "the death of the api")
    del stack.apis[0].env["MILLRACE_FAULTS"]
    stack.apis[0].start()
    done = wait_for_batch(stack, batch["id"], "completed", limit=30)  # the dead keeper's lease is 10 s
    good, bad = outputs(stack, done)
    assert names(good) == [f"r{i}" for i in range(30)] and bad == []
    assert stack.sql("select count(*) from file where purpose = 'batch_output'") == [(1,)]
    receiver.wait(1)
    assert stack.sql("select event, count(*) from webhook_delivery group by 1") == [("batch.completed", 1)]


def test_a_retry_while_the_output_is_written_makes_that_void(make_stack):
    stack = make_stack(apis=2, start=False)
    for process in (stack.simulator, stack.apis[0], stack.workers[0]):
        process.start()
    script(stack, **{"flaky": {"error_class": "bad_request"}, "*": {"latency_ms": 1500}})  # it must not be over before the api is killed
    batch = start(stack, [chat_line("good"), chat_line("bad", model="flaky")])
    wait_until(lambda: fetch(stack, batch["id"])["status"] == "in_progress", 20, "its lines to be jobs")
    stack.apis[0].kill()
    stack.apis[0].env["MILLRACE_FAULTS"] = "db.send.batch_output_finish=stop"
    stack.apis[0].start()
    wait_until(lambda: is_stopped(stack.apis[0].pid), 40, "the last statement")
    assert stack.sql("select stage from batch_file") == [(3,)]
    stack.apis[1].start()
    script(stack)
    assert stack.http(api=1).post(f"/v1/batches/{batch['id']}/retry").status == 202
    stack.apis[0].cont()
    done = wait_for_batch(stack, batch["id"], "completed")
    assert names(rows_of(stack, done["output_file_id"])) == ["good", "bad"] and done["error_file_id"] is None
    assert stack.sql("select count(*) from file where purpose = 'batch_output'") == [(1,)]
    assert stack.sql("select count(*) from blob where state = 0") == [(0,)]  # what was written in vain is dropped


def is_stopped(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "T"


def test_a_retry_keeps_the_cost_cap(make_stack):
    target = {"provider": "openai", "api_key": "sk-simulator", "max_output_tokens": 16, "price": {"input": "1", "cached_input": "1", "output": "1"}}
    stack = make_stack(config={"targets": {"sim": target}, "job": {"max_attempts": 1}})
    lines = [chat_line(f"r{i}", max_tokens=16) for i in range(30)]
    bound = wait_for_batch(stack, start(stack, lines[:1], millrace={"max_cost_usd": "1"})["id"], "completed") and stack.sql("select bound_nanousd from job")[0][0]
    script(stack, **{"*": {"error_class": "bad_request"}})
    cap = bound * 12
    batch = wait_for_batch(stack, start(stack, lines, millrace={"max_cost_usd": f"{cap // 10**9}.{cap % 10**9:09d}"})["id"], "completed")
    assert batch["millrace"]["counts"]["failed"] >= 12
    script(stack)
    single = stack.sql("select id::text from job where bound_nanousd is not null and custom_id = 'r1'")[0][0].replace("-", "")
    assert stack.http().post(f"/v1/jobs/job_{single}/retry").status == 409
    for _ in range(4):
        before = stack.sql("select count(*) from outcome")
        answer = stack.http().post(f"/v1/batches/{batch['id']}/retry")
        batch = wait_for_batch(stack, batch["id"], "completed")
        spent_nano = stack.sql("select sum(cost_nanousd)::int8 from attempt a join job j on j.id = a.job_id where j.batch_id = %s::uuid", batch["id"][6:])[0][0] or 0
        assert spent_nano <= cap
        if answer.status == 409:
            assert stack.sql("select count(*) from outcome") == before
            break
    assert batch["millrace"]["counts"]["succeeded"] >= 1


def test_its_end_is_told_once_in_openais_form_when_the_files_are_there(stack, receiver):
    batch = start(stack, [chat_line(f"r{i}") for i in range(10)], millrace={"webhook": {"url": receiver.url}})
    headers, body = receiver.wait(1)[0]
    verify(secret_of(stack), headers, body)
    message = json.loads(body)
    assert message["type"] == "batch.completed" and message["object"] == "event" and message["data"] == {"id": batch["id"]}
    done = fetch(stack, batch["id"])
    assert done["status"] == "completed" and len(rows_of(stack, done["output_file_id"])) == 10
    assert Counter(stack.sql("select event from webhook_delivery")) == Counter([("batch.completed",)])
