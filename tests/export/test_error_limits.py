"""Errors, their limits and ties, of which a verdict is made."""

import numpy as np

import export
from export import parity, validation

from .models import judged


def test_the_error_is_relative_to_the_largest_number():
    reference = np.array([[1.0, -4.0]])
    assert parity.error(np.array([[1.5, -4.0]]), reference) == 0.125
    assert parity.error(reference, reference) == 0.0


def test_what_is_missing_or_no_number_is_infinitely_wrong():
    reference = np.zeros((1, 2))
    assert parity.error(np.zeros((1, 3)), reference) == np.inf
    assert parity.error(np.array([[0.0, np.nan]]), reference) == np.inf
    assert parity.worst_error([], [reference]) == np.inf


def test_only_near_classes_are_ties():
    exact = np.array([1.0, 1.0 + 1e-6, 0.5])
    assert parity.is_tie(exact, 0, 1, allowed=1e-6)
    assert not parity.is_tie(exact, 0, 1, allowed=1e-7)
    assert not parity.is_tie(exact, 1, 2, allowed=1e-6)


def test_a_model_in_bfloat16_would_fail_its_own_limit():
    """The limit tells float32 from the next coarser precision."""
    reference = parity.Reference.of(judged())
    answer = reference.answer(
        [np.random.default_rng(0).normal(size=(7, 8, 8, 3)).astype(np.float32)]
    )
    assert parity.limit_for(answer.own_error()) < 1e-3 * 2.0**-8


def test_ties_on_the_split_explain_a_difference(tmp_path, monkeypatch):
    """With a limit as wide as the logits every change is a tie, and accuracy is explained."""
    model, other = judged(), judged()
    path = export.to_onnx(model, tmp_path / "good.onnx", labels=[*"abcde"])
    other.layers[-1].bias.assign(np.arange(5, dtype=np.float32))
    images = np.random.default_rng(5).normal(size=(20, 8, 8, 3)).astype(np.float32)
    labels = np.asarray(model(images)).argmax(axis=1)
    monkeypatch.setattr(validation.parity, "FLOOR", 10.0)
    verdict = export.validate(other, path, data=(images, labels))
    assert verdict.ok, verdict.failed
    split = next(c for c in verdict.checks if c.name == "accuracy on the test split")
    assert split.measured != split.limit
