"""The rules decide by their numbers alone, on results made up for the purpose."""

import math

import pytest

from training.studies.statistics import interval
from training.studies.verdicts import Claim, Rule, judge, together
from zoo.errors import InputError


def rule(**changes):
    return Rule(
        **{"measure": "gain", "text": "a gain", "holds_at": 0.1, "no_effect": 0.0} | changes
    )


def judged(values, **changes):
    claim = Claim(text="more", source="made up", rules=(rule(**changes),))
    return judge(claim, {"gain": values}).verdict


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.20, 0.21, 0.19, 0.20, 0.22], "held"),
        ([0.05, 0.06, 0.04, 0.05, 0.06], "held in part"),  # an effect, but less than claimed
        ([0.10, 0.20, 0.05, 0.15, 0.12], "held in part"),  # an effect, perhaps as claimed
        ([0.00, 0.01, -0.01, 0.00, 0.01], "did not hold"),
        ([-0.5, -0.4, -0.6, -0.5, -0.5], "did not hold"),
        ([-0.3, 0.5, 0.1, -0.2, 0.4], "undecided"),  # from nothing to more than claimed
        ([0.20, 0.21, 0.19, 0.20], "undecided"),  # four seeds are too few
        ([0.2] * 5, "held"),
        ([], "undecided"),  # every run diverged
    ],
)
def test_verdicts(values, verdict):
    assert judged(values) == verdict
    # The same with the signs turned: lower is better.
    turned = [-value for value in values]
    assert judged(turned, holds_at=-0.1, better="lower") == verdict


def test_without_a_middle_nothing_holds_in_part():
    assert judged([0.05] * 5, no_effect=None) == "did not hold"
    assert judged([0.1] * 5, no_effect=None) == "held"


def test_ratios_are_judged_by_their_logarithms():
    found = interval([0.5, 2.0, 0.5, 2.0, 1.0], "log")
    assert found.mean == pytest.approx(1.0)
    assert found.low == pytest.approx(1 / found.high)
    assert judged([4.0] * 5, holds_at=2.0, no_effect=1.0, scale="log") == "held"


def test_an_interval_is_students():
    # By hand: mean 3, deviation sqrt(2.5), quantile 2.776 for four degrees of freedom.
    found = interval([1, 2, 3, 4, 5])
    assert found.mean == 3
    assert found.high - 3 == pytest.approx(2.7764 * math.sqrt(2.5 / 5), abs=1e-3)
    assert interval([1.0]).high == math.inf


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_an_interval_needs_numbers(values):
    with pytest.raises(InputError, match="finite"):
        interval(values)


def test_a_ratio_is_above_zero():
    with pytest.raises(InputError, match="above 0"):
        interval([1.0, 0.0], "log")


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        (["held", "held"], "held"),
        (["did not hold", "did not hold"], "did not hold"),
        (["held", "did not hold"], "held in part"),
        (["held", "undecided"], "held in part"),
        (["undecided", "did not hold"], "undecided"),
    ],
)
def test_several_rules(verdicts, verdict):
    assert together(verdicts) == verdict


def test_a_rule_that_is_the_wrong_way_round():
    with pytest.raises(InputError, match="no_effect"):
        rule(no_effect=0.2)
    with pytest.raises(InputError, match="no_effect"):
        rule(better="lower", no_effect=0.0)


def test_a_measure_that_there_is_not():
    claim = Claim(text="more", source="made up", rules=(rule(measure="gian"),))
    with pytest.raises(InputError, match="gain"):
        judge(claim, {"gain": [1.0]})
