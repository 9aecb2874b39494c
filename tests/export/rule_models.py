"""Chains of layers, and folds of them that are checked in float64."""

import keras
from keras import layers

import export
from export.certificate import ALGEBRA_LIMIT
from export.certificate_inputs import batches
from export.folding import Folded, fold_as
from export.parity import error
from export.running import outputs

from .models import with_weights

BatchNorm = layers.BatchNormalization
FIRST = {"data_format": "channels_first"}


def net(start, *chain, gammas: str = "both", dtype: str = "float32") -> keras.Model:
    """A chain of layers on an input of some shape, with random weights."""
    x = image = start if isinstance(start, keras.KerasTensor) else keras.Input(start, dtype=dtype)
    for layer in chain:
        x = layer(x)
    return with_weights(keras.Model(image, x), seed=3, gammas=gammas)


def fold_exactly(model: keras.Model, **options) -> Folded:
    """Fold a model in float64 and check it against the original in float64.

    Inputs are random ones and a bright corner, which shows what is wrong at the border.
    """
    folded = fold_as(model, "float64", **options)
    wide = export.rebuild(model, "float64")
    alike = next(batches(wide))
    for inputs in (alike[0], alike[-1]):
        pairs = zip(outputs(folded.model, inputs), outputs(wide, inputs), strict=True)
        assert max(error(*pair) for pair in pairs) <= ALGEBRA_LIMIT
    return folded


def assert_gone(model: keras.Model, action: str, into: str | None = None, count: int = 1) -> Folded:
    """Check that every BatchNorm is gone in one way, exactly."""
    folded = fold_exactly(model)
    assert folded.report.kept == ()
    assert [entry.action for entry in folded.report.entries] == [action] * count
    assert not any(isinstance(layer, BatchNorm) for layer in folded.model.layers)
    if into is not None:
        assert all(entry.into == (into,) for entry in folded.report.entries)
    return folded
