import keras
import numpy as np
import pytest
from keras import layers, ops

import export
from export import by_image
from export.by_image import ByImage
from export.parity import doubled
from export.probes import probes, random_inputs
from export.running import Runner, outputs

from .models import resnet

# Float64 sums in another order, over a few hundred products.
FLOAT64 = 1e-12


class Counting:
    """How many images a model was given from now on."""

    def __init__(self, monkeypatch):
        self.images = 0
        run = Runner.__call__

        def counted(runner, inputs):
            self.images += len(inputs[0])
            return run(runner, inputs)

        monkeypatch.setattr(Runner, "__call__", counted)


class Centred(layers.Layer):
    """Takes the mean of the batch off each image: images reach each other."""

    def call(self, x):
        return x - ops.mean(x, axis=0, keepdims=True)


def wide(model):
    return export.rebuild(model, "float64")


def close(some, others):
    for one, other in zip(some, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=FLOAT64, atol=FLOAT64)


def test_each_image_is_computed_once(monkeypatch):
    exact = ByImage(wide(resnet()))
    assert exact.apart
    counted = Counting(monkeypatch)
    rows = doubled(random_inputs(exact.model, 9))
    close(exact([rows[0][[0, 1, 0, 2, 1]]]), outputs(exact.model, [rows[0][[0, 1, 0, 2, 1]]]))
    assert counted.images == 3
    close(exact(rows), outputs(exact.model, rows))
    assert counted.images == 9
    zeros = [np.zeros((64, *rows[0].shape[1:]))]
    close(exact(zeros), outputs(exact.model, zeros))
    assert counted.images == 10


def test_large_outputs_are_not_kept(monkeypatch):
    monkeypatch.setattr(by_image, "_MOST_KEPT", 0)
    exact = ByImage(wide(resnet()))
    assert exact.apart
    counted = Counting(monkeypatch)
    rows = doubled(random_inputs(exact.model, 2))
    close(exact(rows), exact(rows))
    assert counted.images == 4


def test_images_that_reach_each_other_are_computed_together():
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, layers.Flatten()(Centred()(image)), name="centred")
    exact = ByImage(model)
    assert not exact.apart
    zeros_and_one = np.zeros((3, 4, 4, 3))
    zeros_and_one[0] = 3
    close(exact([zeros_and_one]), outputs(model, [zeros_and_one]))
    assert exact([zeros_and_one])[0][0, 0] == pytest.approx(2)


def test_an_output_without_a_batch_is_computed_as_it_is():
    image = keras.Input((4,))
    model = keras.Model(image, ops.sum(image, axis=0))
    exact = ByImage(model)
    assert not exact.apart
    close(exact([np.ones((5, 4))]), [np.full(4, 5.0)])


def test_two_inputs_make_one_image():
    left, right = keras.Input((3,), name="left"), keras.Input((3,), name="right")
    exact = ByImage(keras.Model([left, right], left - right))
    ones, zeros = np.ones((1, 3)), np.zeros((1, 3))
    found = exact([np.concatenate([ones, ones, zeros]), np.concatenate([ones, zeros, ones])])
    close(found, [np.array([[0.0] * 3, [1.0] * 3, [-1.0] * 3])])


@pytest.mark.parametrize(
    ("side", "random", "extreme"),
    [
        (100, (1, 2, 7, 64), (1, 2, 7, 64)),
        (101, (1, 2, 7, 16), (1, 2, 7)),
        (300, (1, 2, 7, 16), (1, 2, 7)),
        (301, (1, 2, 7), (1, 2, 7)),
    ],
)
def test_only_batches_of_large_images_are_smaller(side, random, extreme):
    model = keras.Sequential([keras.Input((side, side, 3)), layers.GlobalAveragePooling2D()])
    found = {
        kind: tuple(dict.fromkeys(p.batch for p in probes(model, None, None) if p.kind == kind))
        for kind in ("random", "zero", "saturated")
    }
    assert found == {"random": random, "zero": extreme, "saturated": extreme}


@pytest.mark.parametrize(("side", "at_once"), [(8, 9), (224, 8), (300, 4), (633, 1), (700, 1)])
def test_as_many_are_computed_at_once_as_the_memory_takes(monkeypatch, side, at_once):
    image = keras.Input((side, side, 3), dtype="float64")
    exact = ByImage(keras.Model(image, layers.GlobalAveragePooling2D(dtype="float64")(image)))
    assert exact.apart
    sizes = []
    run = Runner.__call__

    def told(runner, inputs):
        sizes.append(len(inputs[0]))
        return run(runner, inputs)

    monkeypatch.setattr(Runner, "__call__", told)
    images = np.random.default_rng(0).normal(size=(9, side, side, 3))
    close(exact([images]), [images.mean(axis=(1, 2))])
    assert max(sizes) == at_once
    assert sum(sizes) == 9
