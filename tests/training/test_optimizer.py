import importlib.util
import json
import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import training
import zoo
from training import optimizer as optimizers
from training import precision, schedules
from training.optimizer import SGD
from zoo import InputError

NAMES = ["sgd", "adamw", "muon", "lamb", "lion"]


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


def small_model():
    """Four layers with kernels, of which Muon takes the two in the middle, and a norm."""
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(3, 3, name="first"),
            keras.layers.LayerNormalization(axis=[2, 3], name="norm"),
            keras.layers.Conv2D(4, 3, name="second"),
            keras.layers.Flatten(),
            keras.layers.Dense(5, name="third"),
            keras.layers.Dense(2, name="last"),
        ],
        name="net",
    )


DECAYED = {f"net/{layer}/kernel" for layer in ("first", "second", "third", "last")}
MATRICES = {"net/second/kernel", "net/third/kernel"}


def made(recipe, model, steps=12, **values):
    """The optimizer of a recipe, built, and its schedule."""
    changed = training.Recipe.load(recipe, **values)
    schedule = schedules.create(changed, steps // changed.epochs)
    optimizer = optimizers.create(changed, model, schedule, steps=steps)
    optimizer.build(model.trainable_variables)
    return optimizer, schedule


class Reference:
    """One variable under one optimizer, in float64 and by the papers' formulas."""

    def __init__(self, name, weights, *, matrix, decay):
        self.name = "adamw" if name == "muon" and not matrix else name
        self.w, self.decay = weights.astype(np.float64), decay
        self.m, self.v, self.t = np.zeros_like(self.w), np.zeros_like(self.w), 0
        # What is left to Adam by Muon has Adam's usual first beta.
        self.beta_1 = 0.9 if name == "muon" and not matrix else 0.8

    def update(self, g, rate):
        self.t += 1
        if self.name != "sgd":
            self.w = self.w - rate * self.decay * self.w
        self.w = self.w - rate * getattr(self, self.name)(g)

    def sgd(self, g):
        g = g + self.decay * self.w
        self.m = 0.8 * self.m + g
        return g + 0.8 * self.m

    def moments(self, g):
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.v = 0.95 * self.v + 0.05 * g**2
        return self.m / (1 - self.beta_1**self.t), self.v / (1 - 0.95**self.t)

    def adamw(self, g):
        # Keras' epsilon is the "epsilon hat" of Kingma and Ba, https://arxiv.org/abs/1412.6980.
        m, v = self.moments(g)
        return m / (np.sqrt(v) + 1e-7 / math.sqrt(1 - 0.95**self.t))

    def lamb(self, g):
        m, v = self.moments(g)
        step = m / (np.sqrt(v) + 1e-7)
        length = np.linalg.norm(self.w)
        return step * (length / np.linalg.norm(step) if length else 1)

    def lion(self, g):
        step = np.sign(0.8 * self.m + 0.2 * g)
        self.m = 0.95 * self.m + 0.05 * g
        return step

    def muon(self, g):
        self.m = 0.8 * self.m + g
        matrix = (g + 0.8 * self.m).reshape(-1, g.shape[-1])
        x = matrix / np.linalg.norm(matrix)
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        return (0.2 * math.sqrt(max(x.shape)) * x).reshape(g.shape)


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_the_first_steps_are_the_papers(recipe, name, accumulation, clip_norm):
    model = small_model()
    chance = np.random.default_rng(1)
    optimizer, _ = made(
        recipe,
        model,
        optimizer=name,
        schedule="linear",
        warmup_epochs=0.5,
        learning_rate=0.05,
        momentum=0.8,
        beta_2=0.95,
        weight_decay=0.3,
        accumulation=accumulation,
        clip_norm=clip_norm,
    )
    # SGD's velocity holds the rate in Keras and not in the papers; that differs where it changes.
    rate = [0.05 * min((s + 1) / 4, (12 - s) / 9) for s in range(12)]
    if name == "sgd":
        optimizer, _ = made(
            recipe,
            model,
            schedule="constant",
            learning_rate=0.05,
            momentum=0.8,
            weight_decay=0.3,
            accumulation=accumulation,
            clip_norm=clip_norm,
        )
        rate = [0.05] * 12
    variables = model.trainable_variables
    references = [
        Reference(
            name,
            variable.numpy(),
            matrix=variable.path in MATRICES,
            decay=0.3 if variable.path in DECAYED else 0.0,
        )
        for variable in variables
    ]
    group = []
    for step in range(12):
        group.append([chance.normal(size=variable.shape) for variable in variables])
        optimizer.apply(
            [keras.ops.convert_to_tensor(g.astype(np.float32)) for g in group[-1]], variables
        )
        if len(group) == accumulation:
            mean = [sum(parts) / accumulation for parts in zip(*group, strict=True)]
            norm = math.sqrt(sum((g**2).sum() for g in mean))
            factor = min(1, clip_norm / norm) if clip_norm else 1
            for reference, g in zip(references, mean, strict=True):
                reference.update(factor * g, rate[step])
            group = []
        for reference, variable in zip(references, variables, strict=True):
            # float32 against float64; the iterations of Muon enlarge what is small five times
            # over by 3.4, and a step is 0.05 at most.
            np.testing.assert_allclose(
                variable.numpy(), reference.w, rtol=2e-4, atol=2e-5, err_msg=variable.path
            )


def test_clipping_is_of_all_gradients_together_and_exact(recipe):
    model = small_model()
    values = {"schedule": "constant", "learning_rate": 1.0, "momentum": 0.0}
    chance = np.random.default_rng(2)
    gradients = [
        chance.normal(size=variable.shape).astype(np.float32)
        for variable in model.trainable_variables
    ]
    norm = math.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients))
    for limit in (norm / 7, norm * 1.01):
        optimizer, _ = made(recipe, model, clip_norm=limit, **values)
        for variable in model.trainable_variables:
            variable.assign(np.zeros(variable.shape))
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients])
        for variable, g in zip(model.trainable_variables, gradients, strict=True):
            # One rounding each of the norm, the factor and the product.
            np.testing.assert_allclose(variable.numpy(), -g * min(1, limit / norm), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_norm_parameters_and_biases_are_not_decayed(recipe, name):
    model = small_model()
    for variable in model.trainable_variables:
        variable.assign(variable + 1)
    before = {variable.path: variable.numpy() for variable in model.trainable_variables}
    optimizer, _ = made(recipe, model, optimizer=name, weight_decay=0.5)
    zero = [keras.ops.zeros(variable.shape) for variable in model.trainable_variables]
    optimizer.apply(zero, model.trainable_variables)
    moved = {
        variable.path
        for variable in model.trainable_variables
        if not (variable.numpy() == before[variable.path]).all()
    }
    assert moved == DECAYED


def test_a_norm_with_two_axes_is_not_decayed_either():
    # By their number of axes alone gamma and beta of this norm would be.
    model = small_model()
    assert [v.path for v in model.trainable_variables if len(v.shape) > 1 and "norm" in v.path]
    excluded = {variable.path for variable in optimizers.undecayed(model)}
    assert excluded == {v.path for v in model.trainable_variables} - DECAYED


def test_a_factor_for_each_channel_is_not_decayed():
    image = keras.Input((4, 4, 3))
    x = keras.layers.DepthwiseConv2D(3, use_bias=False, name="filter")(image)
    model = keras.Model(image, keras.layers.DepthwiseConv2D(1, use_bias=False, name="scale")(x))
    assert [v.path for v in optimizers.undecayed(model)] == ["scale/kernel"]


def test_muon_is_for_the_kernels_between_the_first_layer_and_the_last():
    model = zoo.create_model("mobilenet_v2", width=0.25, input_shape=(32, 32, 3), num_classes=10)
    taken = {variable.path for variable in optimizers.hidden_kernels(model)}
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    left = [layer for layer in layers if f"{layer.path}/kernel" not in taken]
    assert left[0] is layers[0]
    assert left[-1] is layers[-1]
    assert {type(layer) for layer in left[1:-1]} == {keras.layers.DepthwiseConv2D}
    assert len(taken) == len(layers) - len(left) > 10


@pytest.mark.parametrize("shape", [(3, 3, 2, 5), (1, 1, 4, 9), (6, 4)])
def test_muon_makes_the_matrix_of_a_convolution_orthogonal(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    result = optimizers.Muon().zeropower_via_newtonschulz5(keras.ops.convert_to_tensor(x), 5)
    assert tuple(result.shape) == shape
    left, _, right = np.linalg.svd(x.reshape(-1, shape[-1]), full_matrices=False)
    middle = left.T @ np.asarray(result).reshape(-1, shape[-1]) @ right.T
    # Jordan: the five iterations bring every singular value close to 1, within about 0.3; the
    # singular vectors stay as they are, but for float32.
    np.testing.assert_allclose(np.diag(middle), 1, atol=0.4)
    np.testing.assert_allclose(middle, np.diag(np.diag(middle)), atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_saved_with_all_of_its_settings(recipe, name):
    optimizer, _ = made(
        recipe, small_model(), optimizer=name, average=0.9, clip_norm=2.0, accumulation=4
    )
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert isinstance(again, getattr(keras.optimizers, type(optimizer).__name__))
    assert again.get_config() == optimizer.get_config()
    assert (again.average, again.global_clipnorm, again.gradient_accumulation_steps) == (
        0.9,
        2.0,
        4,
    )


def test_what_cannot_be_trained_is_told(recipe, silent):
    with pytest.raises(InputError, match=r"accumulation: .*steps, 10; received 11"):
        training.train(recipe, accumulation=11, progress=silent)
    with pytest.raises(InputError, match=r"momentum: .*more than 0 .*'lion'; received 0\.0"):
        training.train(recipe, optimizer="lion", momentum=0.0, progress=silent)


@pytest.mark.parametrize("name", NAMES)
def test_float16_is_trained_with_everything_on(recipe, silent, name, monkeypatch):
    seen = []
    scaled = precision.scaled
    monkeypatch.setattr(precision, "scaled", lambda *args: seen.append(scaled(*args)) or seen[-1])
    result = training.train(
        recipe,
        optimizer=name,
        precision="mixed_float16",
        learning_rate=0.1 if name == "sgd" else 0.01,
        weight_decay=1e-3,
        average=0.5,
        accumulation=2,
        clip_norm=1.0,
        epochs=4,
        batch_size=128,
        holdout=0.0,
        progress=silent,
    )
    assert isinstance(seen[0], keras.optimizers.LossScaleOptimizer)
    # 44 steps in groups of two; few may be left out by overflow.
    assert 17 <= int(seen[0].iterations) <= 22
    assert result.history[-1]["loss"] < result.history[0]["loss"]


RESUME = """
import json, pathlib, sys
import training, zoo
from zoo import blocks

def net(options):
    image = x = blocks.image(options)
    for number in range(2):
        x = blocks.conv_norm_act(x, 8, 3, norm=options.norm, stride=2, name=f"conv{number}")
    return blocks.model(options, image, {4: x}, name="net")

zoo.register_model(input_shape=(8, 8, 3), num_classes=10, paper="none")(net)

class Killed(Exception):
    pass

class Kill(training.Progress):
    def step(self, *, step, **values):
        if step == 8:
            raise Killed

base = pathlib.Path(sys.argv[1])
same = {}
for name in ("sgd", "adamw", "muon", "lamb", "lion"):
    recipe = training.Recipe(
        name="net.digits", arch="net", dataset="digits", image_size=8, epochs=2, batch_size=256,
        learning_rate=0.01, holdout=0.1, dropout=0.2, weight_decay=0.01, precision="float32",
        optimizer=name, schedule="one_cycle", average=0.8, accumulation=2, clip_norm=1.0,
        statistics_images=600,
    )
    whole = training.train(recipe, out=base / f"{name}.whole", progress=training.Progress())
    try:
        training.train(recipe, out=base / f"{name}.killed", progress=Kill())
    except Killed:
        pass
    # Step 5, in the middle of a group of two.
    assert training.checkpoint.read(base / f"{name}.killed")[0].step == 5
    again = training.train(
        recipe, out=base / f"{name}.killed", resume=True, progress=training.Progress()
    )
    same[name] = [
        bool((one == two).all())
        for one, two in zip(whole.model.get_weights(), again.model.get_weights(), strict=True)
    ] + [whole.history[-1]["val_loss"] == again.history[-1]["val_loss"]]
print(json.dumps(same))
"""

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed"
)


@pytest.fixture(scope="module", params=["tensorflow", pytest.param("jax", marks=needs_jax)])
def same(request, tmp_path_factory):
    """For each optimizer, which weights of a killed run are those of a run that was not.

    In a process of its own, since TensorFlow repeats itself only where it is told so at first.
    """
    done = subprocess.run(
        [sys.executable, "-c", RESUME, str(tmp_path_factory.mktemp("runs"))],
        env={**os.environ, "KERAS_BACKEND": request.param},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_resumes_to_the_same_bits(same, name):
    assert len(same[name]) > 10
    assert all(same[name])
