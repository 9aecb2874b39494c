"""What several studies need: variants of normalization by name, and numbers over seeds."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import pydantic

from training.recipe import Recipe
from training.studies.statistics import interval
from training.studies.study import Results, Run
from zoo.errors import InputError, nearest
from zoo.norm import KINDS, Norm
from zoo.pages import percent
from zoo.settings import Number

_PLACES = {"after": "after_activation", "pre": "pre_activation"}
_TUNING = 1_000_000  # how far the seeds that choose a rate are from those that are measured

Rates = Annotated[tuple[Annotated[Number, pydantic.Field(gt=0)], ...], pydantic.Field(min_length=1)]


def variant_norm(variant: str, base: Norm) -> Norm:
    """Turn a variant's name into a normalization.

    Args:
        variant: A kind, or a kind with ``-after`` or ``-pre`` for another place.
        base: Its constants.

    Returns:
        The normalization.

    Raises:
        InputError: There is no such kind or place.
    """
    kind, dash, place = variant.partition("-")
    if kind not in KINDS or (dash and place not in _PLACES):
        known = [*KINDS, *(f"batch-{place}" for place in _PLACES)]
        raise InputError(f"unknown variant {variant!r}; {nearest(variant, known)}")
    values = {**base.model_dump(), "kind": kind}
    if dash:
        values["placement"] = _PLACES[place]
    return Norm(**values)


def _known(variants: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse variants that there are not."""
    for variant in variants:
        variant_norm(variant, Norm())
    return variants


Variants = Annotated[tuple[str, ...], pydantic.Field(min_length=1), pydantic.AfterValidator(_known)]


def measures_of(variants: Iterable[str], against: str, *keys: str) -> list[str]:
    """Name the measures that hold variants against another one.

    Args:
        variants: The variants.
        against: The one that gets no measures.
        *keys: What is measured, with ``{}`` in the place of the variant.

    Returns:
        The names, as rules have them.
    """
    return [
        key.format(variant.replace("-", "_"))
        for variant in variants
        if variant != against
        for key in keys
    ]


def training_of(base: Recipe, variant: str, **changes: Any) -> Recipe:
    """Make the recipe of a run.

    Args:
        base: What all runs have in common.
        variant: Its normalization, see `variant_norm`.
        **changes: Other keys of `training.Recipe`.

    Returns:
        The recipe.
    """
    return base.replace(norm=variant_norm(variant, base.norm), **changes)


def values(results: Results, ids: Iterable[str], key: str) -> list[float]:
    """Collect one number of some runs."""
    return [float(results[name][key]) for name in ids]


def minus(some: Sequence[float], others: Sequence[float]) -> list[float]:
    """Subtract numbers of the same seeds."""
    return [one - other for one, other in zip(some, others, strict=True)]


def point(x: float, numbers: Sequence[float]) -> tuple[float, float, float, float]:
    """Make a point of a plot: x, and low, mean, high over the seeds."""
    found = interval(numbers)
    if len(numbers) == 1:
        return (x, found.mean, found.mean, found.mean)
    return (x, found.low, found.mean, found.high)


def told_share(numbers: Sequence[float]) -> str:
    """Write fractions over seeds in percent: the mean and half of the interval."""
    if not numbers:
        return "none"
    found = interval(numbers)
    if len(numbers) == 1:
        return percent(found.mean)
    return f"{100 * found.mean:.1f} ± {100 * (found.high - found.mean):.1f} %"


def told_number(numbers: Sequence[float], form: str = ".3g") -> str:
    """Write numbers over seeds: the mean and half of the interval."""
    if not numbers:
        return "none"
    found = interval(numbers)
    if len(numbers) == 1:
        return format(found.mean, form)
    return f"{format(found.mean, form)} ± {format(found.high - found.mean, form)}"


def tuning_runs(variants: Sequence[str], rates: Sequence[float], seeds: Sequence[int]) -> list[Run]:
    """List the runs that choose each variant's learning rate, by seeds that nothing else uses."""
    return [
        Run.of(stage="tune", variant=variant, rate=rate, seed=seed + _TUNING)
        for variant in variants
        for rate in rates
        for seed in seeds
    ]


def best_rate(
    variant: str, rates: Sequence[float], seeds: Sequence[int], results: Results, key: str
) -> float | None:
    """Choose the rate at which the tuning runs of a variant came to the highest mean.

    They are measured on the images that are held out for choices.

    Args:
        variant: The variant.
        rates: What was tried.
        seeds: Of the study; the tuning used others that follow from them.
        results: What is known.
        key: Which number of the runs.

    Returns:
        The rate, the lower one of equals; None where a run is missing.
    """
    runs = {rate: tuning_runs([variant], [rate], seeds) for rate in rates}
    if any(run.id not in results for some in runs.values() for run in some):
        return None
    means = {
        rate: statistics.mean(float(results[run.id][key]) for run in some)
        for rate, some in runs.items()
    }
    return max(sorted(means), key=lambda rate: means[rate])


def rate_of(rates: Mapping[str, float], variant: str, default: float) -> float:
    """Choose the learning rate of a variant that the recipe gives one of its own."""
    return rates.get(variant, default)
