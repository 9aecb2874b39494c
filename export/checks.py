"""What every verdict is made of: one measured value against one limit."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        name: What was looked at, in a few words, for example ``float32 error of the folded model``.
        ok: Whether it is as it should be.
        measured: What was found.
        limit: What was accepted.
        detail: One sentence on how it was measured, and where it failed.
    """

    name: str
    ok: bool
    measured: float | int | str
    limit: float | int | str
    detail: str = ""


@dataclass(frozen=True)
class Verdict:
    """All checks of one subject, and the one answer that they make.

    Args:
        checks: What was looked at, in that order.
    """

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether anything was checked, and every check holds."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if not check.ok)

    def why(self) -> str:
        """Tell in one line which checks do not hold, with what was measured and what the limit is.

        Returns:
            For example ``rounding in float32: 1e-2, limit 3e-7 (...)``; empty where all hold.
        """
        return " | ".join(
            f"{check.name}: {_short(check.measured)}, limit {_short(check.limit)} ({check.detail})"
            for check in self.failed
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as plain values that JSON can hold."""
        return {"ok": self.ok, "checks": [plain(asdict(check)) for check in self.checks]}


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as JSON can hold them, which knows no infinity and no NaN: they become text.

    Args:
        values: Numbers and texts by name.

    Returns:
        The same, for example with ``"inf"`` for an infinite number.
    """
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }


def _short(value: float | int | str) -> str:
    """Write a measured value for a line of text."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
