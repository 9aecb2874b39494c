import math

import keras
import pytest

import training
from training import precision
from zoo import xla
from zoo.norm import KINDS, PLACEMENTS, Norm
from zoo.policies import policy


@pytest.mark.parametrize(
    ("devices", "slow_bfloat16", "policy"),
    [
        (["cpu:0"], False, "mixed_bfloat16"),
        (["cpu:0"], True, "float32"),
        (["cpu:0", "gpu:0"], False, "mixed_float16"),
    ],
)
def test_auto_follows_the_device(devices, slow_bfloat16, policy, monkeypatch):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: devices)
    monkeypatch.setattr(xla, "is_needed", lambda dtype: dtype == "bfloat16" and slow_bfloat16)
    assert precision.resolve("auto") == policy
    assert precision.resolve("float32") == "float32"


def test_the_callers_policy_comes_back_whatever_happens():
    keras.config.set_dtype_policy("mixed_bfloat16")
    with pytest.raises(RuntimeError), policy("mixed_float16"):
        assert keras.config.dtype_policy().name == "mixed_float16"
        raise RuntimeError
    assert keras.config.dtype_policy().name == "mixed_bfloat16"


def small_batch():
    images = keras.random.normal((4, 8, 8, 3), seed=0)
    return images, keras.ops.one_hot(keras.ops.arange(4), 10)


def test_float16_gradients_are_scaled_and_overflow_costs_one_step():
    with policy("mixed_float16"):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, use_bias=False)])
    optimizer = precision.scaled(keras.optimizers.SGD(1.0), "mixed_float16")
    optimizer.build(model.trainable_variables)
    assert float(optimizer.scale_loss(1.0)) == 2.0**15
    kernel = model.trainable_variables[0]
    before = kernel.numpy()
    optimizer.apply([keras.ops.full((4, 2), float("inf"))], [kernel])
    assert (kernel.numpy() == before).all()
    assert float(optimizer.dynamic_scale) == 2.0**14
    optimizer.apply([keras.ops.full((4, 2), 2.0**14)], [kernel])
    # Unscaled, the gradient is 1 and so is the step; float32 rounds the difference.
    assert kernel.numpy() == pytest.approx(before - 1, abs=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_no_other_precision_is_scaled(policy):
    optimizer = keras.optimizers.SGD(1.0)
    assert precision.scaled(optimizer, policy) is optimizer


def test_training_in_float16_learns_with_a_scaled_loss(recipe, silent, monkeypatch):
    wrapped = []
    scaled = precision.scaled

    def remember(optimizer, name):
        wrapped.append(scaled(optimizer, name))
        return wrapped[-1]

    monkeypatch.setattr(precision, "scaled", remember)
    result = training.train(recipe, precision="mixed_float16", progress=silent)
    assert isinstance(wrapped[0], keras.optimizers.LossScaleOptimizer)
    assert int(wrapped[0].iterations) > 5  # of ten steps, few may be left out by overflow
    assert result.card.precision == "mixed_float16"
    assert {layer.compute_dtype for layer in result.model.layers if "conv" in layer.name} == {
        "float16"
    }
    assert result.history[-1]["loss"] < result.history[0]["loss"]


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_norm_trains_a_step_in_mixed_precision(kind, placement):
    from training.optimizer import SGD
    from zoo import create_model

    with policy("mixed_bfloat16"):
        model = create_model(
            "resnet20", norm=Norm(kind, placement=placement), width=0.5, input_shape=(8, 8, 3)
        )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(SGD(0.01, l2=1e-4), loss, run_eagerly=True)
    before = [weight.numpy() for weight in model.trainable_weights]
    assert math.isfinite(model.train_on_batch(*small_batch()))
    moved = [
        (weight.numpy() != old).any()
        for weight, old in zip(model.trainable_weights, before, strict=True)
    ]
    still = [w.path for w, m in zip(model.trainable_weights, moved, strict=True) if not m]
    assert still == []
