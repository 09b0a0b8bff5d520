# SPDX-License-Identifier: Apache-2.0
"""`millrace batch` and `millrace files` against a real service: from a file of OpenAI's requests to its output, and what users get wrong."""

import json
import os
import pty
import subprocess

import pytest

from batchfile import as_jsonl, chat_line
from faults import script

OK, FAILED, USAGE, NOT_FOUND = range(4)


@pytest.fixture
def stack(make_stack):
    return make_stack()


@pytest.fixture
def cli(stack, workdir, keys):
    env = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
    env.update(MILLRACE_URL=stack.url, MILLRACE_API_KEY=keys["api_key"])

    def run(*words, want=OK, text=True, **more):
        p = subprocess.run([os.environ["MILLRACE_BIN"], *words], cwd=workdir, env=env, text=text, capture_output=True, timeout=60, **more)
        assert p.returncode == want, p.stdout + p.stderr
        return p

    run.env = env
    return run


def write(workdir, lines, name="in.jsonl"):
    (workdir / name).write_bytes(as_jsonl(lines))
    return name


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_becomes_a_batch_and_its_output_a_file(cli, workdir):
    name = write(workdir, [chat_line(f"r{i}", f"say {i}") for i in range(12)])
    p = cli("batch", "create", name, "--output", "out.jsonl", "--errors", "failed.jsonl", "--metadata", "customer=acme", "--priority", "2")
    batch = p.stdout.strip()
    assert batch.startswith("batch_") and "completed: 12 succeeded" in p.stderr
    assert [line["custom_id"] for line in read(workdir / "out.jsonl")] == [f"r{i}" for i in range(12)]
    assert (workdir / "failed.jsonl").read_text() == ""
    shown = cli("batch", "show", batch).stdout
    assert shown.startswith(f"{batch}  completed\njobs       12 (12 succeeded)\n") and "endpoint   /v1/chat/completions" in shown
    assert "for one call each" in shown and "output     file-" in shown
    made = json.loads(cli("batch", "show", batch, "--json").stdout)
    assert made["metadata"] == {"customer": "acme"} and made["millrace"]["priority"] == 2
    assert cli("batch", "output", batch).stdout == (workdir / "out.jsonl").read_text()
    assert cli("batch", "output", batch, "--errors", "-").stdout == ""
    assert len(cli("batch", "results", batch).stdout.splitlines()) == 12
    assert f"{batch} completed: 12 succeeded" in cli("watch", batch).stdout
    assert cli("watch", batch.replace("batch_", "msgbatch_")).returncode == OK


def test_lines_that_failed_can_be_run_once_more(cli, stack, workdir):
    script(stack, fail_first=1, error_status=400)
    name = write(workdir, [chat_line("a", "x"), chat_line("b", "y")])
    p = cli("batch", "create", name, "--output", "out.jsonl", "--errors", "failed.jsonl", want=FAILED)
    batch = p.stdout.strip()
    assert "1 succeeded, 1 failed" in p.stderr and "failed lines:" not in p.stderr
    failed = read(workdir / "failed.jsonl")
    assert len(failed) == 1 and failed[0]["response"]["status_code"] == 400 and len(read(workdir / "out.jsonl")) == 1
    assert "completed: 2 succeeded" in cli("batch", "retry", batch, "--watch").stderr
    cli("batch", "output", batch, "--output", "out.jsonl", "--errors", "failed.jsonl")
    assert [line["custom_id"] for line in read(workdir / "out.jsonl")] == ["a", "b"] and read(workdir / "failed.jsonl") == []
    assert "no job of the batch has failed" in cli("batch", "retry", batch, want=FAILED).stderr


def test_faults_are_shown_with_their_lines_and_nothing_runs(cli, stack, workdir):
    (workdir / "bad.jsonl").write_text('nonsense\n' + as_jsonl([chat_line("a", "x")]).decode() + '{"custom_id": "b"}\n')
    p = cli("batch", "create", "bad.jsonl", "--watch", want=FAILED)
    assert "line 1: " in p.stderr and "[invalid_json_line]" in p.stderr and "line 3: " in p.stderr and "0/0" not in p.stderr
    assert stack.sql("select count(*) from job") == [(0,)]
    shown = cli("batch", "show", p.stdout.strip()).stdout
    assert shown.splitlines()[0].endswith("  failed") and "line 3: " in shown and "jobs " not in shown


def test_a_dry_run_tells_the_cost_and_a_cap_stops(cli, stack, workdir):
    name = write(workdir, [chat_line("a", "x" * 400, max_tokens=10)])
    p = cli("batch", "create", name, "--dry-run")
    assert "dry run: 1 valid request, about 115 tokens of input, $" in p.stderr and stack.sql("select count(*) from job") == [(0,)]
    p = cli("batch", "create", name, "--max-cost", "$0.000001", "--watch", want=FAILED)
    assert "1 canceled" in p.stderr
    assert "cost cap   $0.000001, reached" in cli("batch", "show", p.stdout.strip()).stdout


def test_a_key_makes_one_batch(cli, stack, workdir):
    name = write(workdir, [chat_line("a", "x")])
    ids = {cli("batch", "create", name, "--idempotency-key", "k1").stdout for _ in range(2)}
    assert len(ids) == 1 and stack.sql("select count(*) from batch") == [(1,)] and stack.sql("select count(*) from file where purpose = 'batch'") == [(1,)]


def test_who_takes_the_wrong_command_is_told_the_right_one(cli, stack, workdir):
    name = write(workdir, [chat_line("a", "x")])
    (workdir / "jobs.jsonl").write_text(json.dumps({"request": stack.body("x")["request"]}) + "\n")
    assert f"millrace batch create {name}" in cli("submit", name, want=USAGE).stderr
    assert "millrace batch create -" in cli("submit", "-", want=USAGE, input=(workdir / name).read_text()).stderr
    assert "millrace submit jobs.jsonl" in cli("batch", "create", "jobs.jsonl", want=USAGE).stderr
    (workdir / "empty.jsonl").write_text("\n\n")
    assert "empty.jsonl is empty" in cli("batch", "create", "empty.jsonl", want=FAILED).stderr
    assert "ends in .jsonl" in cli("batch", "create", "in.txt", want=USAGE).stderr
    cli("batch", "create", "none.jsonl", want=NOT_FOUND)
    native = cli("submit", "jobs.jsonl", "--watch").stdout.strip()
    assert f"millrace batch results {native}" in cli("batch", "output", native, want=NOT_FOUND).stderr
    job = stack.sql("select id from job")
    assert job and "is the id of a batch" in cli("jobs", "show", native, want=USAGE).stderr
    assert "not the id of a job or a batch" in cli("watch", "xx", want=USAGE).stderr
    assert "not the id of a file" in cli("files", "show", "../x", want=USAGE).stderr


def test_standard_input_is_a_file_too(cli, workdir):
    p = cli("batch", "create", "-", "--output", "-", input=as_jsonl([chat_line("a", "x")]).decode())
    assert [json.loads(line)["custom_id"] for line in p.stdout.splitlines()] == ["a"]
    assert "batch batch_" in p.stderr


def test_a_chat_s_id_names_its_job(cli, stack):
    chat = stack.http().post("/v1/chat/completions", {"model": "default", "messages": [{"role": "user", "content": "x"}]}).json
    job = chat["id"].replace("chatcmpl-", "job_")
    assert cli("jobs", "show", chat["id"]).stdout.startswith(f"{job}  succeeded")
    assert cli("watch", chat["id"]).stdout.startswith(f"{job}  succeeded")


def test_batches_of_both_kinds_are_listed(cli, stack, workdir):
    write(workdir, [chat_line("a", "x"), chat_line("b", "x")])
    one = cli("batch", "create", "in.jsonl", "--watch").stdout.strip()
    (workdir / "a.txt").write_text("1")
    (workdir / "b.txt").write_text("2")
    two = cli("submit", "a.txt", "b.txt", "--watch").stdout.strip()
    table = {line.split()[0]: line.split() for line in cli("batch", "list").stdout.splitlines()}
    assert table[one][1] == table[two][1] == "completed" and table[one][-4:-1] == table[two][-4:-1] == ["2", "2", "0"]
    assert "there are more" in cli("batch", "list", "--limit", "1").stderr


def test_files_go_up_and_come_down(cli, workdir):
    content = bytes(range(256)) * 5000
    (workdir / 'odd "name".bin').write_bytes(content)
    file = cli("files", "upload", 'odd "name".bin', "--expires-after", "2h").stdout.strip()
    shown = cli("files", "show", file).stdout
    assert 'name       odd %22name%22.bin' in shown and "purpose    user_data" in shown and "size       1.2 MiB" in shown and "(in 1h" in shown
    assert cli("files", "download", file, text=False).stdout == content
    cli("files", "download", file, "--output", "copy")
    assert (workdir / "copy").read_bytes() == content
    assert file in cli("files", "list", "--purpose", "user_data").stdout and "no files" in cli("files", "list", "--purpose", "evals").stderr
    assert cli("files", "delete", file).stdout == f"{file}  deleted\n"
    assert "no such file" in cli("files", "delete", file, want=NOT_FOUND).stderr
    cli("files", "download", file, "--output", "gone", want=NOT_FOUND)
    (workdir / "empty").write_text("")
    empty = cli("files", "upload", "empty", "empty").stdout.split()
    assert len(empty) == 2 and cli("files", "download", empty[0]).stdout == ""


def test_a_terminal_is_not_shown_bytes_that_nobody_asked_for(cli, workdir):
    (workdir / "x.bin").write_bytes(b"\x1b]0;t\x07")
    file = cli("files", "upload", "x.bin").stdout.strip()
    ours, theirs = pty.openpty()
    p = subprocess.run([os.environ["MILLRACE_BIN"], "files", "download", file], env=cli.env, cwd=workdir, stdout=theirs, stderr=subprocess.PIPE, timeout=30)
    os.close(theirs)
    os.close(ours)
    assert p.returncode == USAGE and b"--output" in p.stderr
