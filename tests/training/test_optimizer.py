import math

import keras
import numpy as np
import pytest

from training.optimizer import SGD, schedule


def papers_sgd(weights, gradients, *, rate, momentum, nesterov, l2):
    """SGD as PyTorch documents it; at a constant rate it is the same as Keras' and the papers'."""
    velocity = np.zeros_like(weights)
    for gradient in gradients:
        total = gradient + l2 * weights
        velocity = momentum * velocity + total
        weights = weights - rate * (total + momentum * velocity if nesterov else velocity)
    return weights


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_weight_decay_is_part_of_the_gradient(nesterov, momentum):
    chance = np.random.default_rng(0)
    kernel, bias = chance.normal(size=(3, 4)), chance.normal(size=4)
    gradients = [(chance.normal(size=(3, 4)), chance.normal(size=4)) for _ in range(8)]
    variables = [keras.Variable(value, dtype="float64") for value in (kernel, bias)]
    optimizer = SGD(0.1, momentum, nesterov, l2=0.05)
    optimizer.build(variables)
    for pair in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(part) for part in pair], variables)
    settings = {"rate": 0.1, "momentum": momentum, "nesterov": nesterov and momentum > 0}
    expected = papers_sgd(kernel, [pair[0] for pair in gradients], l2=0.05, **settings)
    # Keras keeps rate and factors in float32: 6e-8 relative, over eight steps.
    np.testing.assert_allclose(variables[0].numpy(), expected, rtol=2e-6, atol=1e-7)
    expected = papers_sgd(bias, [pair[1] for pair in gradients], l2=0.0, **settings)
    np.testing.assert_allclose(variables[1].numpy(), expected, rtol=2e-6, atol=1e-7)


def test_norm_parameters_and_biases_are_not_decayed():
    layers = [keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization(), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((4, 4, 1)), *layers, keras.layers.Dense(2)])
    before = {variable.path: variable.numpy() + 1 for variable in model.trainable_variables}
    optimizer = SGD(0.1, l2=0.5)
    optimizer.build(model.trainable_variables)
    for variable in model.trainable_variables:
        variable.assign(before[variable.path])
    zero = [keras.ops.zeros(variable.shape) for variable in model.trainable_variables]
    optimizer.apply(zero, model.trainable_variables)
    moved = {
        variable.path.rsplit("/", 1)[1]
        for variable in model.trainable_variables
        if not (variable.numpy() == before[variable.path]).all()
    }
    assert moved == {"kernel"}


def test_it_is_saved_with_all_of_its_settings():
    optimizer = SGD(schedule(0.1, steps=10, warmup_steps=2), 0.8, False, l2=0.01)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, SGD)
    assert (again.l2, again.momentum, again.nesterov) == (0.01, 0.8, False)
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize("warmup", [0, 1, 4])
def test_the_rate_rises_and_falls_step_by_step(warmup):
    steps = 20
    rate = schedule(0.2, steps=steps, warmup_steps=warmup)
    expected = [0.2 * (step + 1) / (warmup + 1) for step in range(warmup)] + [
        0.1 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        for step in range(warmup, steps)
    ]
    # float32 arithmetic on values of 0.2: a few units in the last place.
    np.testing.assert_allclose([float(rate(step)) for step in range(steps)], expected, atol=1e-7)
