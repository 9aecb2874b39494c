"""What the studies measure is what its name says."""

import numpy as np
import pytest

from training.studies import convergence, covariate_shift, mechanics
from training.studies.gradients import Gradients
from training.studies.pictures import picture
from training.studies.study import Plot
from training.studies.weights import arrays
from zoo.norm import Norm

from .models import builder


@pytest.mark.parametrize("seed", [0, 1])
def test_the_layer_computes_what_float64_computes(seed):
    errors = mechanics.layer_errors(Norm("batch"), seed)
    # Float32 has 1.2e-7 for its last place; some hundred operations are between.
    assert errors["output_error"] < 1e-5
    assert errors["inference_error"] < 1e-5
    assert errors["moving_mean_error"] < 1e-5
    assert errors["moving_variance_error"] < 1e-5
    # The unbiased variance is another number: the check could tell them apart.
    assert errors["unbiased_apart"] > 1e-3
    assert errors["gradient_error"] < 1e-4
    assert errors["through_statistics"] > 0.01
    assert errors["lag_error"] <= 1
    assert errors["modes_apart"] > errors["output_error"]


def test_gradients_are_those_of_the_loss():
    model = builder(Norm("batch"), 0.0)
    chance = np.random.default_rng(0)
    images = chance.normal(size=(16, 8, 8, 3)).astype(np.float32)
    labels = np.eye(10, dtype=np.float32)[chance.integers(0, 10, 16)]
    gradients = Gradients(model)
    loss, found = gradients(images, labels)
    weights = arrays(model.trainable_variables)
    again, _ = gradients(images, labels)
    assert again == loss  # nothing has moved
    step = 1e-2
    sides = []
    for sign in (1, -1):
        for variable, value, gradient in zip(
            model.trainable_variables, weights, found, strict=True
        ):
            variable.assign(value + sign * step * gradient)
        sides.append(gradients(images, labels)[0])
    squared = sum(float((gradient**2).sum()) for gradient in found)
    # Central differences of a smooth loss in float32: an error of step squared and of rounding.
    assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(squared, rel=1e-2)


def test_shares_are_drawn_from_nothing_to_all():
    """Whatever the interval over the seeds says."""
    for low, mean in ((-0.3, 0.5), (-0.3, -0.1)):
        plot = Plot("gap", "rate", {"batch": [(1.0, low, mean, 1.4)]}, percent=True)
        bottom, top = picture([plot]).axes[0].get_ylim()
        assert top == 1.02
        assert bottom == -0.02 if mean > 0 else bottom < low


def test_distributions_that_move_are_told_from_those_that_do_not():
    old = np.random.default_rng(0).normal(size=(2048, 3))
    still = covariate_shift.moved([old], [old])
    assert set(still.values()) == {0.0}
    moved = covariate_shift.moved([old], [2 * old + 5])
    deviation = old.std(axis=0)
    assert moved["mean"] == pytest.approx(np.mean(np.abs(old.mean(axis=0) + 5) / deviation))
    assert moved["variance"] == pytest.approx(np.log(4))
    assert moved["wasserstein"] >= moved["mean"]


def test_steps_to_an_accuracy():
    curve = [(10, 0.2), (20, 0.4), (30, 0.3)]
    assert convergence.steps_to(curve, 0.2) == 10
    assert convergence.steps_to(curve, 0.3) == pytest.approx(15)
    assert convergence.steps_to(curve, 0.5) is None
