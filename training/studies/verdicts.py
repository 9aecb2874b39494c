"""The rules that turn numbers into verdicts; what they are applied to stands in the recipes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic

from training.studies.statistics import Interval, interval
from zoo.errors import InputError, nearest
from zoo.settings import Number, Settings

Verdict = Literal["held", "held in part", "did not hold", "undecided"]

LEAST_SEEDS = 5


class Rule(Settings):
    """What one measure must come to for a claim to hold.

    With the 95 % confidence interval of the measure over the seeds:
    ``held`` when all of it is at ``holds_at`` or beyond; ``did not hold`` when none of it reaches
    ``holds_at`` and it is not wholly beyond ``no_effect``; ``held in part`` when it is wholly
    beyond ``no_effect`` and not all of it at ``holds_at``; ``undecided`` otherwise, and with fewer
    than five seeds.

    Args:
        measure: The name by which the study knows the measure.
        text: What it is, in words.
        holds_at: The value that the claim needs.
        no_effect: The value where nothing of the claim is left; None for ``holds_at`` itself.
        better: Whether ``higher`` or ``lower`` values speak for the claim.
        scale: ``log`` for ratios.

    Raises:
        InputError: A key or value is not accepted, or ``no_effect`` is on the wrong side.
    """

    measure: str
    text: str
    holds_at: Number
    no_effect: Number | None = None
    better: Literal["higher", "lower"] = "higher"
    scale: Literal["linear", "log"] = "linear"

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> "Rule":
        if self._sign() * self.nothing > self._sign() * self.holds_at:
            raise ValueError(
                f"no_effect: accepted is a value that speaks less for the claim than holds_at, "
                f"{self.holds_at}; received {self.no_effect}"
            )
        return self

    @property
    def nothing(self) -> float:
        """The value where nothing of the claim is left."""
        return self.holds_at if self.no_effect is None else self.no_effect

    def judge(self, found: Interval) -> Verdict:
        """Apply the rule to an interval.

        Args:
            found: Of the measure over the seeds.

        Returns:
            The verdict.
        """
        if found.count < LEAST_SEEDS:
            return "undecided"
        sign = self._sign()
        low, high = sorted((sign * found.low, sign * found.high))
        needed, nothing = sign * self.holds_at, sign * self.nothing
        if low >= needed:
            return "held"
        if low > nothing:
            return "held in part"
        return "did not hold" if high < needed else "undecided"

    def in_words(self) -> str:
        """Say what the claim needs."""
        word = "at least" if self.better == "higher" else "at most"
        needed = f"{word} {self.holds_at:g}"
        return needed if self.no_effect is None else f"{needed}; no effect at {self.no_effect:g}"

    def _sign(self) -> int:
        return 1 if self.better == "higher" else -1


class Claim(Settings):
    """One claim and the rules that decide it.

    Args:
        text: The claim, one sentence.
        source: Who makes it.
        rules: What must come out, at least one.

    Raises:
        InputError: A key or value is not accepted.
    """

    text: str
    source: str
    rules: Annotated[tuple[Rule, ...], pydantic.Field(min_length=1)]


@dataclass(frozen=True)
class Measured:
    """A rule and what it was applied to.

    Args:
        rule: The rule.
        found: The interval of its measure.
        verdict: What the rule says of it.
    """

    rule: Rule
    found: Interval
    verdict: Verdict


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict.

    Args:
        claim: The claim.
        parts: Each of its rules, applied.
        verdict: What follows from all of them.
    """

    claim: Claim
    parts: tuple[Measured, ...]
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values that JSON can hold."""
        return {
            "claim": self.claim.text,
            "source": self.claim.source,
            "verdict": self.verdict,
            "parts": [
                {
                    "measure": part.rule.measure,
                    "text": part.rule.text,
                    "needed": part.rule.in_words(),
                    "mean": part.found.mean,
                    "low": _finite(part.found.low),
                    "high": _finite(part.found.high),
                    "seeds": part.found.count,
                    "verdict": part.verdict,
                }
                for part in self.parts
            ],
        }


def judge(claim: Claim, measures: Mapping[str, Sequence[float]]) -> Judged:
    """Decide a claim by its rules and nothing else.

    Args:
        claim: The claim.
        measures: One number per seed for each measure of the study.

    Returns:
        The claim with its verdict.

    Raises:
        InputError: A rule asks for a measure that the study does not have.
    """
    parts = []
    for rule in claim.rules:
        if rule.measure not in measures:
            raise InputError(f"unknown measure {rule.measure!r}; {nearest(rule.measure, measures)}")
        # Where every run of it diverged, a measure has no values, and nothing is known of it.
        values = measures[rule.measure]
        found = interval(values, rule.scale) if values else Interval(0.0, -math.inf, math.inf, 0)
        parts.append(Measured(rule, found, rule.judge(found)))
    return Judged(claim, tuple(parts), together([part.verdict for part in parts]))


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Put the verdicts of several rules into one.

    Args:
        verdicts: At least one.

    Returns:
        The verdict that all share; ``held in part`` where they differ and one of them held at
        least in part; else ``undecided``.
    """
    if len(set(verdicts)) == 1:
        return verdicts[0]
    return "held in part" if {"held", "held in part"} & set(verdicts) else "undecided"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
