# SPDX-License-Identifier: Apache-2.0
"""One PostgreSQL cluster and one migrated template per test run, made by the controlling process and used by all of pytest's
workers; a database, processes and a directory per test; and a look at the end whether anything was left behind.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "lib"))

import answers  # noqa: E402
from pg import Pg, PgHandle  # noqa: E402
from proc import BIN, RUN_VARIABLE, processes_of_run, wait_until  # noqa: E402
from stack import Stack  # noqa: E402

SHARED = pytest.StashKey[dict]()
CLUSTER = pytest.StashKey[Pg]()


def is_controller(config):
    return not hasattr(config, "workerinput")


def pytest_configure(config):
    if not is_controller(config):
        config.stash[SHARED] = config.workerinput["millrace"]
        os.environ[RUN_VARIABLE] = config.stash[SHARED]["run"]
    elif not (config.option.collectonly or config.option.help):
        os.environ[RUN_VARIABLE] = run = secrets.token_hex(8)
        os.environ[answers.VARIABLE] = tempfile.mkdtemp(prefix="millrace-answers-", dir="/tmp")
        pg = Pg().start()
        config.stash[CLUSTER] = pg
        config.stash[SHARED] = {"run": run, "pg": pg.info(), "keys": pg.make_template()}


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["millrace"] = node.config.stash[SHARED]


def pytest_unconfigure(config):
    if is_controller(config) and CLUSTER in config.stash:
        config.stash[CLUSTER].close()
        shutil.rmtree(os.environ.pop(answers.VARIABLE), ignore_errors=True)


def compare_answers(session):
    """What was answered in a whole run is what the OpenAPI description says, and all of that; in another one where it is asked for."""
    if not (os.environ.get("MILLRACE_TEST_WHOLE") or os.environ.get("MILLRACE_CHECK_ANSWERS")):
        return
    document = json.loads(subprocess.run([BIN, "docs", "openapi"], check=True, capture_output=True, text=True).stdout)
    whole = bool(os.environ.get("MILLRACE_TEST_WHOLE")) and not session.testsfailed
    complaints = answers.check(os.environ[answers.VARIABLE], document, whole)
    if complaints:
        session.exitstatus = 1
        print("\nnot as the OpenAPI description says:", *(f"\n  {c}" for c in complaints[:answers.COMPLAINTS_MAX]), file=sys.stderr)
        if len(complaints) > answers.COMPLAINTS_MAX:
            print(f"  … and {len(complaints) - answers.COMPLAINTS_MAX} more", file=sys.stderr)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Nothing of this run may live on, but the shared cluster (and, in a worker, what other workers run)."""
    if not is_controller(session.config) or CLUSTER not in session.config.stash:
        return
    cluster = session.config.stash[CLUSTER]
    cluster.close()
    compare_answers(session)
    run = session.config.stash[SHARED]["run"]

    def left():
        return processes_of_run(run)

    try:
        wait_until(lambda: not left(), 5, "the end of all processes")
    except AssertionError:
        session.exitstatus = 1
        print("\nleft behind by the tests:", *(f"\n  {pid} {line}" for pid, line in left().items()), file=sys.stderr)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the ends of its processes' logs."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for stack in getattr(item, "stacks", []):
            for name, tail in stack.log_tails().items():
                report.sections.append((f"log of {name}", tail))


@pytest.fixture(scope="session")
def shared(request):
    return request.config.stash[SHARED]


@pytest.fixture(scope="session")
def pg(shared):
    """The run's cluster: new_database(), url(). Not to be stopped; see make_pg."""
    return PgHandle(shared["pg"])


@pytest.fixture(scope="session")
def keys(shared):
    """{"api_key", "admin_key"} of the tenant `default`, in every database made from the template."""
    return shared["keys"]


@pytest.fixture
def workdir():
    """Short and removed afterwards; kept on request (MILLRACE_TEST_KEEP=1), to read logs."""
    path = Path(tempfile.mkdtemp(prefix="millrace-test-", dir="/tmp"))
    path.chmod(0o755)  # PostgreSQL, which root runs as another user, has to get in
    yield path
    if not os.environ.get("MILLRACE_TEST_KEEP"):
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def db(pg):
    url = pg.new_database()
    yield url
    pg.drop_database(url)


@pytest.fixture
def make_pg():
    """Clusters of the test's own: make_pg(options={"fsync": "off"}) gives a started Pg without a template."""
    made = []

    def make(**kw):
        made.append(Pg(**kw))
        return made[-1].start()

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def make_stack(request, workdir, shared, keys):
    """make_stack(apis=, workers=, simulator=, config=, env=, db=, keys=): a Stack, started unless start=False."""
    made = []
    request.node.stacks = made

    def make(start=True, **kw):
        kw.setdefault("keys", keys)
        if "db" not in kw:
            kw["db"] = request.getfixturevalue("db")
        directory = workdir / f"stack{len(made)}"
        directory.mkdir()
        stack = Stack(workdir=directory, run=shared["run"], **kw)
        made.append(stack)
        return stack.start() if start else stack

    yield make
    complaints = []
    for stack in made:
        try:
            stack.close()
        except AssertionError as complaint:
            complaints.append(complaint)
    if complaints:
        raise complaints[0]


@pytest.fixture
def stack(make_stack):
    """One api, one worker, one simulator."""
    return make_stack()


@pytest.fixture
def routed(make_stack):
    """routed({target: members}, {route: members}, {model: what the simulator does}, workers=1, section={…}): a running stack
    with these. A target's model has its name; members are laid over an OpenAI target of the simulator."""

    def make(targets, routes, script=None, workers=1, **config):
        stack = make_stack(start=False, workers=workers, config=config)
        plain = {"provider": "openai", "base_url": stack.simulator.base_url, "api_key": "k", "price": {"input": "1", "output": "1"}}
        for process in stack.apis + stack.workers:
            process.config["targets"] = {name: {**plain, "model": name, **members} for name, members in targets.items()}
            process.config["routes"] = routes
        stack.start()
        if script:
            answer = stack.simulator.http().post("/_control", {"models": script})
            assert answer.status == 200, answer
        return stack

    return make
