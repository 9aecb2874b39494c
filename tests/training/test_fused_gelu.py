import keras
import numpy as np
import pytest

import training
import zoo
from training import fused_gelu
from zoo.policies import policy

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow" or bool(keras.distribution.list_devices("gpu")),
    reason="it takes the place of TensorFlow's on a CPU",
)

# Half of the type's last place, and of float32, in which all is computed, a few of these; of the
# terms that are added, which are no larger than twice 1 + |x|.
TOLERANCE = {"float32": 2.0**-22, "mixed_bfloat16": 2.0**-8, "mixed_float16": 2.0**-11}


def network():
    return keras.Sequential([keras.Input((6, 5, 3)), keras.layers.Activation("gelu")])


def step(model, images):
    """The output, and the gradient of a loss that weighs each number otherwise."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = model(images, training=True)
        weights = tf.cast(tf.reshape(tf.range(tf.size(images)) % 2 + 1, images.shape), "float32")
        loss = tf.reduce_sum(tf.cast(outputs, "float32") * weights)
    return outputs, tape.gradient(loss, images)


@pytest.mark.parametrize("name", TOLERANCE)
def test_output_and_gradient_are_those_of_keras_in_float64(name):
    import tensorflow as tf

    with policy(name):
        fused = network()
    with policy("float64"):
        exact = network()
    assert fused_gelu.use(fused) == 1
    images = np.random.default_rng(0).normal(0, 3, (4, 6, 5, 3))
    images.flat[:6] = [0.0, -0.0, 30.0, -30.0, 1e-3, -1e-3]
    given = tf.constant(images, fused.layers[0].compute_dtype)
    found = step(fused, given)
    expected = step(exact, tf.cast(given, "float64"))
    assert [value.dtype for value in found] == [given.dtype] * 2
    for here, there in zip(found, expected, strict=True):
        wide = np.asarray(tf.cast(there, "float64"))
        error = np.abs(np.asarray(tf.cast(here, "float64")) - wide)
        assert (error <= TOLERANCE[name] * 2 * (1 + np.abs(images))).all()


def test_it_works_inside_a_compiled_step_and_for_any_batch():
    model = keras.Sequential([*network().layers, keras.layers.Flatten(), keras.layers.Dense(2)])
    fused_gelu.use(model)
    for jit_compile in (False, True):
        model.compile("sgd", "mse", jit_compile=jit_compile)
        for count in (3, 5):
            loss = model.train_on_batch(np.ones((count, 6, 5, 3)), np.ones((count, 2)))
            assert np.isfinite(loss)


def test_what_is_saved_does_not_know(tmp_path):
    model = network()
    fused_gelu.use(model)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert "call" not in vars(again.layers[0])
    images = np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(model(images), again(images), rtol=2e-6, atol=2e-7)


class Own(keras.layers.Activation):
    """Somebody's own, which may compute anything."""


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Activation("relu"),
        keras.layers.Activation(lambda x: keras.activations.gelu(x, approximate=True)),
        keras.layers.Dense(2, activation="gelu"),
        keras.layers.Activation("gelu", dtype="float64"),
        Own("gelu"),
    ],
    ids=["relu", "by tanh", "dense", "float64", "subclass"],
)
def test_others_are_left_as_they_are(layer):
    assert fused_gelu.use(keras.Sequential([keras.Input((6,)), layer])) == 0


def test_all_of_fastnet_are_computed_so():
    assert fused_gelu.use(zoo.create_model("fastnet")) == 7


def test_a_training_uses_it(recipe, silent, monkeypatch):
    used = []
    monkeypatch.setattr(fused_gelu, "use", used.append)
    training.train(training.Recipe.load(recipe), progress=silent)
    assert len(used) == 1
