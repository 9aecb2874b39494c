import keras
import numpy as np
import pytest

from training import fused_norm
from zoo.policies import policy

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the kernel is TensorFlow's"
)

LAYERS = {
    "defaults": {},
    "no scale": {"scale": False},
    "no shift": {"center": False},
    "small epsilon": {"epsilon": 1e-7},
    "large epsilon, little momentum": {"epsilon": 0.5, "momentum": 0.1},
}
# What float32 rounds in sums of a few hundred values; bfloat16 and float16 keep 8 and 11 bits.
TOLERANCE = {"float32": 1e-5, "mixed_bfloat16": 2.0**-7, "mixed_float16": 2.0**-10}


def network(shape=(6, 5, 3), **settings):
    """A network of one BatchNorm, with statistics and parameters as in the middle of training."""
    model = keras.Sequential([keras.Input(shape), keras.layers.BatchNormalization(**settings)])
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.5, 2, weight.shape) for weight in model.weights])
    return model


def step(model, images, training=True, **call):
    """Return the output, the gradients of what goes in and is learned, and the new statistics."""
    import tensorflow as tf

    images = tf.constant(images, model.layers[0].compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = model.layers[0](images, training=training, **call)
        loss = tf.reduce_sum(tf.cast(outputs, "float32") ** 3)
    learned = [variable.value for variable in model.trainable_variables]
    gradients = tape.gradient(loss, [images, *learned])
    new = [variable.numpy() for variable in model.layers[0].non_trainable_variables]
    return [outputs, *gradients, *new]


def batch(count=4, shape=(6, 5, 3)):
    # Off the centre: a variance as the difference of two large means would show.
    return np.random.default_rng(1).normal(3, 2, (count, *shape)).astype(np.float32)


def same(one, two, tolerance):
    for here, there in zip(one, two, strict=True):
        expected = np.asarray(there, np.float64)
        assert np.abs(np.asarray(here, np.float64) - expected).max() <= (
            tolerance * np.abs(expected).max()
        )


@pytest.mark.parametrize("name", TOLERANCE)
@pytest.mark.parametrize("settings", LAYERS.values(), ids=LAYERS)
def test_a_step_is_keras_own(settings, name):
    with policy(name):
        fused, plain = network(**settings), network(**settings)
    assert fused_norm.use(fused) == 1
    same(step(fused, batch()), step(plain, batch()), TOLERANCE[name])


@pytest.mark.parametrize("count, shape", [(1, (1, 2, 3)), (2, (1, 1, 3))])
def test_the_variance_of_few_values_is_the_biased_one(count, shape):
    fused, plain = network(shape), network(shape)
    assert fused_norm.use(fused) == 1
    images = batch(count, shape)
    same(step(fused, images)[-2:], step(plain, images)[-2:], TOLERANCE["float32"])


@pytest.mark.parametrize("how", ["inference", "frozen", "masked"])
def test_elsewhere_it_computes_as_keras_does_to_the_bit(how):
    fused, plain = network(), network()
    fused_norm.use(fused)
    call = {"training": how != "inference"}
    if how == "masked":
        call["mask"] = np.arange(4 * 6 * 5).reshape(4, 6, 5) % 3 > 0
    for model in (fused, plain):
        model.layers[0].trainable = how != "frozen"
    same(step(fused, batch(), **call), step(plain, batch(), **call), 0)


@pytest.mark.parametrize(
    "shape, settings",
    [
        ((6, 5, 3), {"axis": 1}),
        ((6, 5, 3), {"renorm": True}),
        ((6, 5, 3), {"synchronized": True}),
        ((6, 5, 3), {"dtype": "float64"}),
        ((6, 3), {}),
        ((2, 6, 5, 3), {}),
    ],
)
def test_what_the_kernel_does_not_compute_is_left_to_keras(shape, settings):
    model = network(shape, **settings)
    assert fused_norm.use(model) == 0
    assert "call" not in vars(model.layers[0])


def test_a_subclass_is_left_as_it_is():
    class Own(keras.layers.BatchNormalization):
        pass

    assert fused_norm.use(keras.Sequential([keras.Input((6, 5, 3)), Own()])) == 0


def test_the_file_is_of_keras_own_layer(tmp_path):
    fused, plain = network(), network()
    fused_norm.use(fused)
    step(fused, batch())
    configs = [model.layers[0].get_config() for model in (fused, plain)]
    assert [{**config, "name": ""} for config in configs] == [{**configs[1], "name": ""}] * 2
    fused.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert "call" not in vars(loaded.layers[0])
    same(loaded.get_weights(), fused.get_weights(), 0)


@pytest.mark.parametrize("jit", [False, True])
def test_a_compiled_model_trains_by_it(jit):
    fused, plain = network(), network()
    fused_norm.use(fused)
    for model in (fused, plain):
        model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=jit)
        for _ in range(3):
            model.train_on_batch(batch(), batch())
    same(fused.get_weights(), plain.get_weights(), TOLERANCE["float32"])
