"""The table in docs/models.md of how the tests of `make nightly` ended."""

import json
from collections import defaultdict
from typing import Any

import zoo

from .records import RESULTS
from .tables import table

WHOLE_WAY = "each model goes the whole way"


def read() -> dict[str, Any]:
    """Read the outcomes; see `tests.recording`."""
    found: dict[str, Any] = json.loads((RESULTS / "nightly.json").read_text(encoding="utf-8"))
    return found


def nightly() -> str:
    """How many of each test's cases passed, and how long they took."""
    record = read()
    tests: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for identity, case in record["tests"].items():
        tests[_words(identity)].append(case)
    lines = [
        (
            test,
            f"{sum(case['outcome'] == 'passed' for case in cases)} of {len(cases)}",
            f"{sum(case['seconds'] for case in cases) / 60:.0f}",
        )
        for test, cases in sorted(tests.items())
    ]
    dates = sorted({case["date"] for case in record["tests"].values()})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    versions = ", ".join(f"{package} {version}" for package, version in record["versions"].items())
    failed = [name for name, case in record["tests"].items() if case["outcome"] != "passed"]
    missing = len(zoo.list_models()) - len(tests.get(WHOLE_WAY, ()))
    left = f"\n{missing} models are still to be taken with these versions.\n" if missing else ""
    return (
        table(("test", "cases that passed", "minutes"), lines)
        + left
        + "".join(f"\nFailed: `{name}`\n" for name in failed)
        + f"\nRun on {when}; {versions}.\n"
    )


def _words(identity: str) -> str:
    """Make words of a test's name, without its case."""
    name = identity.rpartition("::")[2].partition("[")[0]
    return name.removeprefix("test_").replace("_", " ")
