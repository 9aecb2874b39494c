"""Models of whole numbers: what they are compared on is in their tables."""

import keras
import pytest
from keras import layers

import export
from export import whole_numbers
from export.probes import probes
from zoo.errors import InputError


def embedded(dtype: str) -> keras.Model:
    """A model that looks twenty words up, by a small and a smaller table."""
    words = keras.Input((6,), dtype=dtype)
    x = layers.Concatenate()([layers.Embedding(20, 3)(words), layers.Embedding(30, 2)(words)])
    x = layers.BatchNormalization()(layers.Conv1D(4, 3)(x))
    return keras.Model(words, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float32"])
def test_a_model_of_words_is_exported_and_validated(tmp_path, dtype):
    model = embedded(dtype)
    folded = export.fold(model, certify=True)
    path = export.to_onnx(folded, tmp_path / "model.onnx")
    verdict = export.validate(model, path)
    assert verdict.ok, verdict.why()


def test_probes_are_words_that_every_table_has():
    model = embedded("int32")
    made = [array for probe in probes(model, None, None) for array in probe.inputs]
    assert {array.dtype.name for array in made} == {"int32"}
    assert min(array.min() for array in made) == 0
    assert max(array.max() for array in made) == 19


def test_truths_are_whole_numbers_too(tmp_path):
    chosen, image = keras.Input((5, 3), dtype="bool"), keras.Input((5, 3))
    x = keras.ops.where(chosen, image, 0.0)
    model = keras.Model([chosen, image], layers.Dense(2)(layers.Flatten()(x)))
    path = export.to_onnx(model, tmp_path / "model.onnx")
    assert export.validate(model, path).ok


def test_text_is_told():
    text = keras.Input((5,), dtype="string")
    with pytest.raises(InputError, match="takes text"):
        whole_numbers.count(keras.Model(text, text), text)
