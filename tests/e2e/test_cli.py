# SPDX-License-Identifier: Apache-2.0
"""The client commands against a service that answers as the contract says: what they send, print and return."""
import json
import os
import signal
import subprocess
import time

import pytest

from fake_service import FakeService

OK, FAILED, USAGE, NOT_FOUND, UNREACHABLE, TIMEOUT = range(6)


@pytest.fixture
def service():
    fake = FakeService()
    yield fake
    fake.close()


class Cli:
    def __init__(self, url, where):
        self.where = where
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
        self.env.update(MILLRACE_URL=url, MILLRACE_API_KEY="mr_good", ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "detect_leaks=1"))

    def __call__(self, *words, want=OK, stdin=""):
        p = subprocess.run([os.environ["MILLRACE_BIN"], *words], cwd=self.where, env=self.env, input=stdin, text=True,
                           capture_output=True, timeout=60)
        assert p.returncode == want, p.stdout + p.stderr
        return p

    def start(self, *words):
        return subprocess.Popen([os.environ["MILLRACE_BIN"], *words], cwd=self.where, env=self.env, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def cli(service, workdir):
    return Cli(service.url, workdir)


def bodies(service):
    return [json.loads(b) for method, path, headers, b in service.seen if (method, path) == ("POST", "/v1/jobs")]


def wait_for_poll(service):
    deadline = time.time() + 20
    while not any("wait=" in path for method, path, headers, body in service.seen):
        assert time.time() < deadline
        time.sleep(0.01)


def test_a_prompt_is_one_job_and_its_answer_is_printed(cli, service):
    p = cli("submit", "--prompt", "Name three", "--route", "fast", "--max-tokens", "9", "--priority", "2", "--metadata", "a=b=c",
            "--webhook", "https://h/x", "--wait")
    assert p.stdout == 'echo: "Name three"\n'
    assert bodies(service) == [{
        "route": "fast", "priority": 2, "metadata": {"a": "b=c"}, "webhook": {"url": "https://h/x"},
        "request": {"max_tokens": 9, "messages": [{"role": "user", "content": "Name three"}]}}]


def test_files_become_one_batch_in_order(cli, service, workdir):
    for n in range(3):
        (workdir / f"f{n}.txt").write_text(f"text {n}")
    (workdir / "s.json").write_text('{"type":"object"}')
    p = cli("submit", "f*.txt", "--prompt", "Sum up", "--schema", "s.json", "--output", "out.ndjson")
    method, path, headers, body = service.seen[0]
    assert headers["Content-Type"] == "application/x-ndjson"
    jobs = [json.loads(line) for line in body.splitlines()]
    assert [j["request"]["messages"][1]["content"] for j in jobs] == ["text 0", "text 1", "text 2"]
    assert jobs[0]["request"]["messages"][0] == {"role": "system", "content": "Sum up"}
    assert jobs[0]["request"]["response_format"] == {
        "type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": {"type": "object"}}}
    assert jobs[2]["metadata"] == {"file": "f2.txt"}
    lines = [json.loads(line) for line in (workdir / "out.ndjson").read_text().splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2] and "completed: 3 succeeded" in p.stderr


def test_images_and_pdfs_become_parts(cli, service, workdir):
    (workdir / "a.png").write_bytes(b"\x89PNG")
    (workdir / "b.PDF").write_bytes(b"%PDF")
    cli("submit", "a.png", "b.PDF")
    parts = [json.loads(line)["request"]["messages"][0]["content"][0] for line in service.seen[0][3].splitlines()]
    assert parts == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                     {"type": "file", "file": {"filename": "b.PDF", "file_data": "data:application/pdf;base64,JVBERg=="}}]


def test_an_ndjson_file_is_sent_as_it_stands_and_bad_lines_are_shown(cli, service, workdir):
    good = '{"request":{"messages":[{"role":"user","content":"x"}]}}'
    (workdir / "j.ndjson").write_text(good + "\nnonsense\n" + good + "\n")
    p = cli("submit", "j.ndjson", "--watch", want=FAILED)
    assert service.seen[0][3].decode().splitlines() == [good, "nonsense", good]
    assert "line 2: not JSON [invalid_json]" in p.stderr and p.stdout.startswith("batch_")
    cli("submit", "j.ndjson", "--prompt", "x", want=USAGE)


def test_standard_input_is_a_document_or_a_list_of_jobs(cli, service):
    cli("submit", "-", stdin="a text")
    cli("submit", "-", stdin='{"request":{"messages":[{"content":"y"}]}}\n')
    assert service.seen[0][2]["Content-Type"] == "application/json" and service.seen[1][2]["Content-Type"] == "application/x-ndjson"


def test_the_exit_status_says_what_happened(cli, service):
    assert "job_" in cli("submit", "--prompt", "FAIL", "--wait", want=FAILED).stderr
    cli("submit", want=USAGE)
    cli("jobs", "show", "job_none", want=NOT_FOUND)
    cli("submit", "nofile.txt", want=NOT_FOUND)
    cli("jobs", "list", "--key", "bad", want=UNREACHABLE)
    cli("jobs", "list", "--url", "http://127.0.0.1:1", want=UNREACHABLE)
    service.seconds = 30
    p = cli("submit", "--prompt", "x", "--wait", "--timeout", "300ms", want=TIMEOUT)
    assert "millrace watch job_" in p.stderr


def test_a_submission_that_left_nobody_is_not_said_to_be_accepted(cli, service):
    p = cli("submit", "--prompt", "x", "--url", "http://127.0.0.1:1", want=UNREACHABLE)
    assert "cannot be reached" in p.stderr and "--idempotency-key" not in p.stderr
    service.failures.extend([(0,)] * 10)
    p = cli("submit", "--prompt", "x", "--timeout", "2s", want=UNREACHABLE)
    assert "It may have been accepted; repeat it safely with --idempotency-key" in p.stderr


def test_a_shown_job_lists_its_attempts(cli, service):
    job = service.add_job({"route": "default", "request": {"messages": [{"content": "FAIL"}]}})["id"]
    shown = cli("jobs", "show", job).stdout
    assert shown.endswith("ATTEMPT  TARGET      HTTP  FIRST TOKEN   TOOK       COST  OUTCOME    NEXT\n"
                          "      1  fake/model   503            -  850ms  $0.000342  transient  failed\n"), shown
    assert "ATTEMPT" not in cli("jobs", "show", job, "--json").stdout


HELPS = ["", "up", "api", "worker", "migrate", "simulator", "check-config", "docs", "key create", "key list", "key revoke", "submit",
         "jobs list", "jobs show", "jobs cancel", "jobs retry", "batch create", "batch list", "batch show", "batch results", "batch output", "batch cancel",
         "batch retry", "files upload", "files list", "files show", "files download", "files delete",
         "sample", "watch", "targets list", "targets show", "targets pause", "targets resume", "targets drain", "targets reset", "cache stats",
         "cache clear", "version"]


def test_every_help_fits_eighty_columns(cli):
    for words in HELPS:
        text = cli(*words.split(), "--help").stdout
        assert "Usage: millrace" in text
        assert max(map(len, text.splitlines())) <= 80, text


def test_a_problem_is_told_with_its_place_code_and_request(cli, service):
    service.failures.append((400, "wrong_type", "wanted text", "/request/messages/0/content"))
    p = cli("submit", "--prompt", "x", want=FAILED)
    assert p.stderr == "millrace submit: The title: wanted text (at /request/messages/0/content) [wrong_type, req-1]\n"


def test_the_faults_of_a_refused_submission_are_shown(cli, service, workdir):
    (workdir / "j.ndjson").write_text("a\nb\n")
    p = cli("submit", "j.ndjson", want=FAILED)
    assert "line 1: not JSON [invalid_json]\nline 2: not JSON [invalid_json]\n" in p.stderr


def test_overload_is_waited_out_with_the_same_key(cli, service):
    service.failures += [(503, "overloaded", "wait", None, [("Retry-After", "0")]), (429, "rate_limited", "wait", None, [("Retry-After", "0")])]
    cli("submit", "--prompt", "x")
    keys = {headers["Idempotency-Key"] for method, path, headers, body in service.seen}
    assert len(service.seen) == 3 and len(keys) == 1 and len(service.jobs) == 1


def test_a_lost_answer_is_asked_for_again_and_makes_one_job(cli, service):
    service.seconds = 0.2
    service.failures += [(503, "draining", "ends", None, [("Retry-After", "0")]), (0,), (0,)]
    assert "echo" in cli("submit", "--prompt", "x", "--wait").stdout
    assert len(service.jobs) == 1


def test_a_service_that_restarts_is_waited_for(cli, service):
    service.seconds, service.hold = 2, 0.05
    job = cli("submit", "--prompt", "x").stdout.strip()
    p = cli.start("watch", job)
    wait_for_poll(service)
    service.failures += [(0,)] * 3 + [(503, "draining", "ends", None, [("Retry-After", "0")])]
    out, err = p.communicate(timeout=30)
    assert p.returncode == OK and not service.failures and "succeeded" in out, err


def test_a_given_idempotency_key_makes_no_second_job(cli, service):
    one, two = (cli("submit", "--prompt", "x", "--idempotency-key", "k1").stdout for _ in range(2))
    assert one == two and len(service.jobs) == 1
    cli("submit", "--prompt", "x")
    assert len(service.jobs) == 2


def test_lists_follow_the_pages(cli, service):
    for n in range(250):
        service.add_job({"route": "r", "request": {"messages": [{"content": str(n)}]}})
    p = cli("jobs", "list", "--limit", "230")
    lines = p.stdout.splitlines()
    assert lines[0].split()[:2] == ["JOB", "STATUS"] and len(lines) == 231 and len({line.split()[0] for line in lines}) == 231
    assert "there are more" in p.stderr
    assert len([json.loads(line) for line in cli("jobs", "list", "--limit", "3", "--json").stdout.splitlines()]) == 3
    cli("jobs", "list", "--status", "a b&c")
    assert "?status=a%20b%26c&" in service.seen[-1][1]


def test_jobs_and_batches_can_be_shown_canceled_and_retried(cli, service, workdir):
    service.seconds = 30
    (workdir / "a.txt").write_text("1")
    (workdir / "b.txt").write_text("2")
    batch = cli("submit", "a.txt", "b.txt").stdout.strip()
    job = next(iter(service.jobs))
    assert "running" in cli("jobs", "show", job).stdout
    assert "2 running" in cli("batch", "show", batch).stdout
    assert cli("jobs", "cancel", job).stdout == f"{job}  canceled\n"
    assert "1 running, 1 canceled" in cli("batch", "show", batch).stdout
    assert "2 canceled" in cli("batch", "cancel", batch).stdout
    assert "canceled" in cli("watch", job, want=FAILED).stdout
    assert "2 running" in cli("batch", "retry", batch).stdout
    assert len(cli("batch", "results", batch).stdout.splitlines()) == 2
    cli("jobs", "cancel", job, "job_none", want=NOT_FOUND)
    cli("jobs", "cancel", "../x", want=USAGE)


def test_a_reader_that_has_enough_is_no_failure_to_talk_about(cli, service, workdir):
    (workdir / "j.ndjson").write_text('{"request":{"messages":[{"content":"%s"}]}}\n' % ("x" * 1000) * 300)
    batch = cli("submit", "j.ndjson").stdout.strip()
    p = cli.start("batch", "results", batch)
    assert json.loads(p.stdout.readline())["index"] == 0
    p.stdout.close()
    assert p.wait(timeout=20) in (FAILED, -signal.SIGPIPE) and p.stderr.read() == ""
    p.stderr.close()


def test_ctrl_c_ends_the_watching_only(cli, service):
    service.seconds = 30
    p = cli.start("submit", "--prompt", "x", "--watch")
    assert p.stdout.readline().startswith("job_")
    wait_for_poll(service)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=20)
    assert p.returncode == FAILED and "interrupted; it goes on without us: millrace watch job_" in err


def test_the_service_of_up_is_found_and_its_key_goes_nowhere_else(cli, service, workdir):
    (workdir / ".millrace").mkdir()
    (workdir / ".millrace" / "ready.json").write_text(json.dumps({"url": service.url, "api_key": "mr_good"}))
    del cli.env["MILLRACE_URL"], cli.env["MILLRACE_API_KEY"]
    cli("jobs", "list")
    other = FakeService()
    cli("jobs", "list", "--url", other.url, want=UNREACHABLE)
    other.close()
    assert "Authorization" not in other.seen[0][2]


def test_hostile_text_cannot_drive_the_terminal(cli, service):
    service.add_job({"route": "a\x1b[2Jb", "request": {"messages": [{"content": "x\x1b]0;t\x07"}]}})
    service.failures.append((400, "invalid_request", "bad \x1b[31m"))
    assert "\x1b" not in cli("jobs", "list", want=FAILED).stderr
    assert "\x1b" not in cli("jobs", "list").stdout
    assert "\x1b" not in cli("jobs", "show", next(iter(service.jobs))).stdout
