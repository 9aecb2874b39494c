"""Outcomes of tests are kept as they come, and begun anew with other packages."""

import json
from types import SimpleNamespace

from .recording import Record


def report(name, outcome, when="call"):
    return SimpleNamespace(
        nodeid=name, outcome=outcome, when=when, failed=outcome == "failed", duration=1.25
    )


def test_outcomes_are_kept_and_replaced_one_by_one(tmp_path):
    path = tmp_path / "record.json"
    record = Record(path)
    for one in (report("a", "passed", "setup"), report("a", "passed"), report("b", "failed")):
        record.pytest_runtest_logreport(one)
    record.pytest_runtest_logreport(report("c", "failed", "setup"))
    again = Record(path)
    assert {name: case["outcome"] for name, case in again.tests.items()} == {
        "a": "passed",
        "b": "failed",
        "c": "failed",
    }
    again.pytest_runtest_logreport(report("b", "passed"))
    assert Record(path).tests["b"]["outcome"] == "passed"
    assert Record(path).tests["a"]["seconds"] == 1.2


def test_outcomes_with_other_packages_are_none(tmp_path):
    path = tmp_path / "record.json"
    record = Record(path)
    record.pytest_runtest_logreport(report("a", "passed"))
    stored = json.loads(path.read_text())
    stored["versions"]["keras"] = "3.0.0"
    path.write_text(json.dumps(stored))
    assert Record(path).tests == {}
