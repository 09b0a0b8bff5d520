# SPDX-License-Identifier: Apache-2.0
"""`millrace drill`: the promises hold through outages, a fleet without breakers is found out, and nothing stays behind."""

import json
import os
import signal
import tempfile
from pathlib import Path

import pytest

from proc import BIN, REPO, RUN_VARIABLE, Process, processes_of_run, wait_until
from stack import Simulator

TARGET = {"provider": "openai", "api_key": "${DRILL_KEY_THAT_IS_NOWHERE}", "price": {"input": "0.15", "output": "0.60"}}
TWO = {"database": {"url": "${DRILL_DATABASE_THAT_IS_NOWHERE}"},
       "targets": {"first": {**TARGET, "model": "gpt-4o"}, "second": {**TARGET, "provider": "anthropic", "model": "claude-haiku-4-5"}},
       "routes": {"default": {"targets": ["first", "second"]}}}


class Drill(Process):
    """The command in a folder of its own; its temporary folder is made there, too."""

    def __init__(self, workdir, shared, config, *args):
        self.mark = f"{shared['run']}-{os.urandom(4).hex()}"
        # Short, and passable for PostgreSQL's user: pytest's own folder is neither.
        self.tmp = tempfile.TemporaryDirectory(prefix="mr-drill-", dir="/tmp")
        os.chmod(self.tmp.name, 0o755)
        path = workdir / "config.json"
        if isinstance(config, dict):
            path.write_text(json.dumps(config))
        else:
            path = config
        super().__init__("drill", [BIN, "drill", "--config", path, "--log-file", workdir / "fleet.log", *args], workdir,
                         env={RUN_VARIABLE: self.mark, "TMPDIR": self.tmp.name})

    def finish(self, limit=100):
        """Exit status and the report. The log file holds what is printed."""
        status = self.wait(limit)
        lines = [line for line in self.log_path.read_text().splitlines() if line.startswith("{")]
        return status, json.loads(lines[-1]) if lines else None

    def left(self):
        return processes_of_run(self.mark), [str(p) for p in Path(self.tmp.name).iterdir()]


@pytest.fixture
def make_drill(workdir, shared):
    made = []

    def make(config, *args):
        drill = Drill(workdir, shared, config, *args)
        made.append(drill)
        return drill.start()

    yield make
    for drill in made:
        drill.close()
        drill.tmp.cleanup()


def broken(report):
    return [(run["scenario"], p["promise"], p["detail"]) for run in report["scenarios"] for p in run["promises"] if not p["kept"]]


def run_of(report, name):
    return next(run for run in report["scenarios"] if run["scenario"] == name)


def test_the_promises_hold_when_a_provider_is_down(make_drill):
    drill = make_drill(TWO, "--json", "--jobs", "80", "--load", "4s", "--scenario", "primary_down", "--scenario", "rate_limit_storm")
    status, report = drill.finish()
    assert broken(report) == []
    assert status == 0
    down = run_of(report, "primary_down")
    assert down["accepted"] == 80
    assert down["routes"][0]["served"]["fallback"] > 5 and down["routes"][0]["failed"] == 0
    assert {"opened", "closed"} <= {e["kind"] for e in down["events"] if e["target"] == "first"}
    storm = {p["promise"] for p in run_of(report, "rate_limit_storm")["promises"]}
    assert "Retry-After is kept" in storm
    assert drill.left() == ({}, [])


def test_the_sample_configuration_passes_without_keys(make_drill):
    drill = make_drill(REPO / "deploy/config.example.json", "--json", "--jobs", "40", "--load", "4s", "--scenario", "all_down")
    status, report = drill.finish()
    assert broken(report) == []
    assert status == 0
    by_route = {r["route"]: r for r in run_of(report, "all_down")["routes"]}
    assert by_route["default"]["served"]["static"] > 0  # the ladder; `cheap` has none and waits, as the promise says
    assert by_route["default"]["failed"] == by_route["cheap"]["not_ended"] == 0


def test_a_fleet_without_breakers_is_found_out(make_drill):
    drill = make_drill({**TWO, "breaker": {"enabled": False}}, "--json", "--jobs", "100", "--load", "4s", "--scenario", "primary_down")
    drill.expect_bad_end = True
    status, report = drill.finish()
    assert status == 1
    assert [(scenario, promise) for scenario, promise, _ in broken(report)] == [("primary_down", "breakers open")]
    assert report["broken"] == 1
    detail = broken(report)[0][2]
    assert detail.startswith("first failed ") and "did not open" in detail


def test_ctrl_c_leaves_nothing_behind(make_drill):
    drill = make_drill(TWO, "--scenario", "all_down")
    drill.expect_bad_end = True
    # In the middle of a run: the fleet is up.
    wait_until(lambda: sum(" worker " in c for c in drill.left()[0].values()) == 3, 60, "three workers")
    drill.signal(signal.SIGINT)
    assert drill.wait(30) == 1
    assert "interrupted" in drill.log_path.read_text()
    assert drill.left() == ({}, [])


def test_the_operators_own_providers_are_never_asked(make_drill, workdir, shared):
    own = Simulator(workdir, 7, env={RUN_VARIABLE: shared["run"]}).start()
    try:
        target = {**TARGET, "model": "gpt-4o", "base_url": own.base_url}
        config = {"targets": {"own": target}, "routes": {"default": {"targets": ["own"]}}, "models": {"*": target | {"model": "x"}}}
        drill = make_drill(config, "--json", "--jobs", "20", "--load", "2s", "--scenario", "fleet_halved")
        status, report = drill.finish()
        assert (status, broken(report)) == (0, [])
        assert own.http().get("/_control/stats").json["calls"] == 0
    finally:
        own.close()


@pytest.mark.parametrize("args, status, said", [
    (["--scenario", "primry_down"], 2, 'did you mean "primary_down"'),
    (["--scenario", "weather"], 2, "--list shows them"),
    (["--list"], 0, "rate_limit_storm"),
    (["--jobs", "0"], 2, "--jobs"),
])
def test_the_command_line_is_checked(make_drill, args, status, said):
    drill = make_drill(TWO, *args)
    drill.expect_bad_end = True
    assert drill.wait(10) == status
    assert said in drill.log_path.read_text()


def test_mistakes_of_the_configuration_are_named_before_anything_starts(make_drill):
    bad = {**TWO, "routes": {"default": {"targets": ["frist"]}}, "targets": {**TWO["targets"], "third": {**TARGET, "model": "m", "prize": {}}}}
    drill = make_drill(bad)
    drill.expect_bad_end = True
    assert drill.wait(10) == 1
    said = drill.log_path.read_text()
    assert "routes.default.targets" in said and "targets.third.prize" in said and "2 mistakes" in said
    assert not (drill.workdir / "fleet.log").read_text()


def test_a_file_that_is_not_there_is_said(make_drill):
    drill = make_drill(Path("/nowhere/config.json"))
    drill.expect_bad_end = True
    assert drill.wait(10) == 3
