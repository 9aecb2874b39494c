"""What equal numbers may be off by when they are added one after the other."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import export
import zoo
from export import equal_sums
from export.probes import FREE_SIZE

from ..bench.models import randomize


@settings(deadline=None, max_examples=300)
@given(st.floats(1.0, 2.0, width=32, exclude_max=True), st.integers(2, 1500))
def test_no_sum_of_equal_numbers_is_further_off(number, count):
    numbers = np.full(count, number, np.float32)
    total = np.cumsum(numbers, dtype=np.float32)[-1]  # one after the other
    exact = count * float(number)
    assert abs(total - exact) <= count * equal_sums._EACH * exact


@pytest.mark.parametrize(
    ("layer", "shape", "pixels"),
    [
        (layers.GlobalAveragePooling2D(), (7, 5, 3), 35),
        (layers.GlobalAveragePooling2D(data_format="channels_first"), (3, 7, 5), 35),
        (layers.GlobalAveragePooling2D(keepdims=True), (7, None, 3), 7 * FREE_SIZE),
        (layers.GlobalAveragePooling1D(), (9, 3), 9),
        (layers.AveragePooling2D((3, 2)), (7, 5, 3), 6),
        (layers.MaxPooling2D(2), (7, 5, 3), 0),
        (layers.Conv2D(3, 3), (7, 5, 3), 0),
    ],
)
def test_the_longest_sum_of_a_model_counts(layer, shape, pixels):
    image = keras.Input(shape)
    model = keras.Model(image, layer(image))
    assert equal_sums.allowance(model) == pytest.approx(pixels * 2.0**-24 / 3)


def test_a_sound_file_that_adds_equal_numbers_in_their_order_passes(tmp_path):
    # Onnxruntime's pooling of 16x16 equal numbers was refused: 9.5e-7, accepted were 9.3e-7.
    model = randomize(zoo.create_model("ds_cnn_s", input_shape=(32, 32, 1), num_classes=10))
    folded = export.fold(model)
    path = export.to_onnx(folded, tmp_path / "model.onnx")
    verdict = export.validate(folded, path)
    assert verdict.ok, verdict.why()
    limits = {check.name: check.limit for check in verdict.checks}
    assert limits["random inputs, batch 7"] == verdict.limit < 1e-6
    more = limits["zero inputs, batch 7"] - verdict.limit
    assert more == pytest.approx(256 * 2.0**-24 / 3)
