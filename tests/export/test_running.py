"""A runner computes what the model does, traced once where it can be."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from export.running import Runner, outputs
from zoo.errors import InputError

from .models import resnet


class Looks(layers.Layer):
    """Decides by a number that only a call knows."""

    def call(self, x):
        return x * 2 if float(ops.max(x)) > 0 else x

    def compute_output_shape(self, shape):
        return shape


def images(batch):
    return [np.random.default_rng(batch).normal(size=(batch, 8, 8, 3)).astype(np.float32)]


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_runner_computes_what_the_model_does(batch):
    model = resnet()
    (found,) = Runner(model)(images(batch))
    (single,) = outputs(model, images(batch))
    # Two float32 computations of a ResNet-20: its own error is about 1e-6 of the largest logit.
    np.testing.assert_allclose(found, single, rtol=0, atol=4e-6 * np.abs(single).max())


def test_a_model_is_traced_once_for_all_batch_sizes():
    calls = []

    class Told(layers.Layer):
        def call(self, x):
            calls.append(x.shape)
            return x + 1

    image = keras.Input((4,))
    run = Runner(keras.Model(image, Told()(image)))
    calls.clear()
    for batch in (1, 3, 5):
        np.testing.assert_array_equal(run([np.zeros((batch, 4))])[0], np.ones((batch, 4)))
    assert len(calls) == (1 if keras.backend.backend() == "tensorflow" else 3)


def test_a_layer_that_looks_at_numbers_is_called_as_it_is():
    image = keras.Input((2,))
    run = Runner(keras.Model(image, Looks()(image)))
    np.testing.assert_array_equal(run([np.ones((1, 2))])[0], [[2, 2]])
    np.testing.assert_array_equal(run([-np.ones((1, 2))])[0], [[-1, -1]])


def test_inputs_and_outputs_may_be_many_of_any_structure():
    one, other = keras.Input((2,), name="one"), keras.Input((2,), name="other", dtype="int32")
    total = one + ops.cast(other, "float32")
    model = keras.Model({"one": one, "other": other}, {"sum": total, "twice": 2 * total})
    given = [np.array([[0.5, 1.5]]), np.array([[1, 2]])]
    found = Runner(model)(given)
    assert [array.tolist() for array in found] == [[[1.5, 3.5]], [[3.0, 7.0]]]


def test_half_precision_comes_as_float32():
    model = keras.Sequential([keras.Input((2,)), layers.Rescaling(3, dtype="bfloat16")])
    (found,) = Runner(model)([np.ones((1, 2))])
    assert found.dtype == np.float32
    assert found.tolist() == [[3, 3]]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others have such kernels")
def test_an_operation_without_a_kernel_is_named():
    cube = keras.Input((4, 4, 4, 1), dtype="float64")
    model = keras.Model(cube, layers.MaxPooling3D(dtype="float64")(cube), name="cubes")
    for run in (Runner(model), lambda given: outputs(model, given)):
        with pytest.raises(InputError) as caught:
            run([np.zeros((1, 4, 4, 4, 1))])
        assert str(caught.value) == (
            "Keras on tensorflow cannot compute cubes in float64: Exception encountered when "
            "calling MaxPooling3D.call(). Value for attr 'T' of double is not in the list of "
            "allowed values: half, bfloat16, float"
        )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others raise no such error")
def test_what_a_graph_says_of_itself_is_left_out():
    indices = keras.Input((1,), dtype="int32")
    table = keras.Sequential([keras.Input((1,), dtype="int32"), layers.Embedding(2, 3)])
    model = keras.Model(indices, table(indices), name="words")
    with pytest.raises(InputError) as caught:
        Runner(model)([np.full((1, 1), 7)])
    said = str(caught.value)
    assert said.startswith("Keras on tensorflow cannot compute words in int32: indices[0,0] = 7")
    assert not any(mark in said for mark in ("{{", "[Op:", "File", "\x1b"))
