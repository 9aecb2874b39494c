import math

import keras
import numpy as np
import pytest

import training
from training import schedules


def rates(recipe, steps_per_epoch, **values):
    """The learning rate of every step."""
    changed = training.Recipe.load(recipe, **values)
    rate = schedules.create(changed, steps_per_epoch)
    return [float(rate(step)) for step in range(steps_per_epoch * changed.epochs)]


# float32 arithmetic on values of 0.2: a few units in the last place.
CLOSE = {"rtol": 1e-6, "atol": 1e-7}


@pytest.mark.parametrize("warmup", [0, 1, 4])
def test_cosine_rises_and_falls_step_by_step(recipe, warmup):
    expected = [0.2 * (step + 1) / (warmup + 1) for step in range(warmup)] + [
        0.1 * (1 + math.cos(math.pi * (step - warmup) / (20 - warmup)))
        for step in range(warmup, 20)
    ]
    found = rates(recipe, 10, learning_rate=0.2, warmup_epochs=warmup / 10)
    np.testing.assert_allclose(found, expected, **CLOSE)


@pytest.mark.parametrize("warmup", [0, 4])
def test_cosine_is_keras_own_bit_for_bit(recipe, warmup):
    own = keras.optimizers.schedules.CosineDecay(
        0.2 / (warmup + 1), 20 - warmup, warmup_target=0.2 if warmup else None, warmup_steps=warmup
    )
    found = rates(recipe, 10, learning_rate=0.2, warmup_epochs=warmup / 10)
    assert found == [float(own(step)) for step in range(20)]


def test_linear_falls_to_zero_where_the_training_has_ended(recipe):
    found = rates(recipe, 5, schedule="linear", learning_rate=0.3, warmup_epochs=0.4)
    expected = [0.1, 0.2] + [0.3 * (10 - step) / 8 for step in range(2, 10)]
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert found[-1] == pytest.approx(0.3 / 8)


def test_step_steps_after_each_milestone(recipe):
    found = rates(
        recipe,
        4,
        epochs=5,
        schedule="step",
        milestones=[2, 3.5],
        decay_factor=0.2,
        learning_rate=1.0,
        warmup_epochs=0.5,
    )
    expected = [1 / 3, 2 / 3] + [1.0] * 6 + [0.2] * 6 + [0.04] * 6
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_one_cycle_has_its_top_at_three_tenths(recipe):
    found = rates(recipe, 10, schedule="one_cycle", learning_rate=0.5)
    assert found[0] == pytest.approx(0.5 / 25)
    # Half way up a half cosine is the middle of both ends, and half way down half the top.
    assert found[3] == pytest.approx((0.5 + 0.5 / 25) / 2)
    assert found[6] == pytest.approx(0.5)
    assert found[13] == pytest.approx(0.25)
    assert max(found) == found[6]
    assert found[:7] == sorted(found[:7])
    assert found[6:] == sorted(found[6:], reverse=True)
    assert found[-1] == pytest.approx(0.25 * (1 + math.cos(math.pi * 13 / 14)))


def test_constant_stays_after_the_warmup(recipe):
    found = rates(recipe, 5, schedule="constant", learning_rate=0.4, warmup_epochs=0.6)
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3] + [0.4] * 7, **CLOSE)


KINDS = ["cosine", "linear", "step", "one_cycle", "constant"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_schedule_is_positive_in_every_step_and_can_be_saved(recipe, kind):
    milestones = [1] if kind == "step" else []
    changed = training.Recipe.load(recipe, schedule=kind, milestones=milestones)
    rate = schedules.create(changed, 3)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(rate))
    found = [float(rate(step)) for step in range(6)]
    assert min(found) > 0
    assert max(found) <= changed.learning_rate * (1 + 1e-6)  # float32 rounds the rate itself
    assert [float(again(step)) for step in range(6)] == found


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_a_warmup_of_nearly_everything_leaves_a_step(recipe, kind):
    # 1.95 epochs of 5 steps would be rounded to all ten.
    found = rates(recipe, 5, schedule=kind, warmup_epochs=1.95, learning_rate=1.0)
    np.testing.assert_allclose(found, [(step + 1) / 10 for step in range(10)], **CLOSE)


@pytest.mark.parametrize("kind", ["cosine", "one_cycle", "linear"])
def test_a_training_of_one_step_has_a_rate(recipe, kind):
    (rate,) = rates(recipe, 1, epochs=1, schedule=kind)
    assert 0 < rate <= 0.1 * (1 + 1e-6)  # the rate itself is rounded to float32
