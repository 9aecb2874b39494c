"""A record of how tests ended, for those that take hours: ``pytest --record FILE``.

Each test's outcome is written as soon as it is known, beside those that the file has, so that a run
may be stopped and gone on with later. The file is begun anew where packages have other versions.
"""

import importlib.metadata
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from zoo.files import write_json

PACKAGES = ("keras", "tensorflow", "numpy", "onnx", "onnxruntime", "tf2onnx")


class Record:
    """Outcomes by the test's id.

    Args:
        path: The JSON file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.versions = {package: importlib.metadata.version(package) for package in PACKAGES}
        self.tests: dict[str, dict[str, Any]] = {}
        if path.is_file():
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["versions"] == self.versions:
                self.tests = stored["tests"]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that ran, or that failed before it could run."""
        if report.when != "call" and not report.failed:
            return
        self.tests[report.nodeid] = {
            "outcome": report.outcome,
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "seconds": round(report.duration, 1),
        }
        write_json(self.path, {"versions": self.versions, "tests": self.tests})
