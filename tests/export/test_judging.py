"""A verdict that cannot be given is no pass, and what decides nothing does not open the rest."""

import keras
import numpy as np
import onnx
import pytest
from keras import layers

import export
import zoo
from export import parity
from export.errors import ExportError
from export.exact import fast
from export.onnx_metadata import PREFIX
from zoo.errors import InputError
from zoo.preprocessing import Preprocessing

HALF = Preprocessing(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def spoiled(path, change):
    """Write a file with its weights changed."""
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.size > 1:
            changed = change(value).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))
    other = path.with_name("spoiled.onnx")
    onnx.save(proto, other)
    return other


def told(path, **values):
    """Write a file with other metadata."""
    proto = onnx.load(path)
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    entries |= {PREFIX + key: value for key, value in values.items()}
    onnx.helper.set_model_props(proto, entries)
    other = path.with_name("told.onnx")
    onnx.save(proto, other)
    return other


def failed(verdict):
    return [check.name for check in verdict.failed]


def normalized(epsilon):
    """A network that makes rounding of constant images as large as their outputs."""
    keras.utils.set_random_seed(0)
    x = image = keras.Input((16, 16, 3))
    for _ in range(2):
        x = layers.Conv2D(8, 3)(x)
        x = layers.GroupNormalization(groups=-1, epsilon=epsilon)(x)
        x = layers.ReLU()(x)
    return keras.Model(image, layers.Dense(5)(layers.GlobalMaxPooling2D()(x)))


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize(
    "change", [np.zeros_like, lambda value: 1.001 * value], ids=["zeros", "a thousandth more"]
)
def test_what_constant_images_are_off_by_excuses_no_other_error(change, epsilon, tmp_path):
    model = normalized(epsilon)
    path = export.to_onnx(model, tmp_path / "model.onnx")
    sound = export.validate(model, path)
    assert sound.ok, sound.why()
    assert sound.limit < 1e-4
    verdict = export.validate(model, spoiled(path, change))
    assert "random inputs, batch 7" in failed(verdict)


def test_where_float32_decides_nothing_of_constant_images_that_is_told(tmp_path):
    model = normalized(1e-8)
    verdict = export.validate(model, export.to_onnx(model, tmp_path / "model.onnx"))
    checks = {check.name: check for check in verdict.checks}
    assert "saturated inputs, where it is" in checks["float32 error of the model itself"].detail
    assert not any(name.startswith("saturated") for name in checks)


def chaos(seed):
    """A network whose float32 answers have nothing to do with its exact ones."""
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((8, 8, 3))
    x = layers.Dense(16)(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(5)(keras.ops.sin(3e7 * x)))


def test_a_model_that_float32_does_not_decide_gets_no_file_and_no_verdict(tmp_path, monkeypatch):
    with pytest.raises(ExportError, match="no file can be held to it"):
        export.to_onnx(chaos(1), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    with monkeypatch.context() as patched:
        patched.setattr(parity, "DECIDED", 10.0)
        path = export.to_onnx(chaos(2), tmp_path / "model.onnx")
    verdict = export.validate(chaos(1), path)
    assert "float32 error of the model itself" in failed(verdict)
    assert not export.certify(chaos(1), export.fold(chaos(1))).ok


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 2])
def test_sound_files_with_instance_norm_pass(seed, tmp_path):
    keras.utils.set_random_seed(seed)
    model = zoo.create_model("resnet8", norm="instance", input_shape=(32, 32, 3), num_classes=10)
    path = export.to_onnx(model, tmp_path / "model.onnx", preprocessing=HALF)
    verdict = export.validate(model, path)
    assert verdict.ok, verdict.why()


def test_the_reference_keeps_the_weights_of_an_adapted_layer():
    image = keras.Input((8, 8, 4))
    grouped = layers.Conv2D(4, 3, groups=4, name="grouped")
    model = keras.Model(image, grouped(image))
    grouped.enable_lora(2)
    grouped.lora_kernel_b.assign(np.random.default_rng(0).normal(size=grouped.lora_kernel_b.shape))
    wide = export.rebuild(model, "float64")
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 4))
    np.testing.assert_allclose(fast(wide)(images), wide(images), rtol=1e-12)


@pytest.fixture
def small(tmp_path):
    """A model and its file."""
    x = image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3)(x)
    model = keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    made = Preprocessing(size=(16, 16))
    return model, export.to_onnx(model, tmp_path / "model.onnx", preprocessing=made)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_float_file_cannot_call_itself_quantized(small, precision):
    model, path = small
    facts = f'{{"precision": "{precision}", "accuracy_limit": 100}}'
    verdict = export.validate(model, told(path, quantization=facts))
    assert "precision as the file says" in failed(verdict)


@pytest.mark.parametrize("limit", ["NaN", "Infinity", "-1", "101"])
def test_an_accuracy_limit_that_cannot_be_is_damaged(small, limit):
    model, path = small
    facts = f'{{"precision": "int8", "accuracy_limit": {limit}}}'
    images = np.zeros((2, 16, 16, 3), np.float32), np.zeros(2, np.int64)
    verdict = export.validate(model, told(path, quantization=facts), data=images)
    assert "metadata" in failed(verdict)


@pytest.mark.parametrize("pixels", [False, True], ids=["images", "pixels"])
@pytest.mark.parametrize(
    "changes", [{"size": (8, 8)}, {"channels": 1, "mean": (0.5,), "std": (1,)}]
)
def test_a_preprocessing_for_other_images_fails(small, changes, pixels, tmp_path):
    model, path = small
    made = Preprocessing(size=(16, 16))
    if pixels:
        path = export.to_onnx(model, tmp_path / "p.onnx", preprocessing=made, pixels=True)
    other = made.replace(**changes).model_dump_json()
    verdict = export.validate(model, told(path, preprocessing=other))
    assert "images of the preprocessing" in failed(verdict)


def test_a_graph_without_inputs_fails(small, tmp_path):
    model, _ = small
    made = Preprocessing(size=(16, 16))
    path = export.to_onnx(model, tmp_path / "p.onnx", preprocessing=made, pixels=True)
    proto = onnx.load(path)
    proto.graph.ClearField("input")
    onnx.save(proto, path)
    assert not export.validate(model, path).ok


def test_a_model_of_one_batch_size_is_told(tmp_path):
    image = keras.Input(batch_shape=(1, 8, 8, 3))
    model = keras.Model(image, layers.Conv2D(2, 3)(image))
    for given in (model, export.fold(model)):
        with pytest.raises(InputError, match=r"takes \(1, 8, 8, 3\); build it with keras.Input"):
            export.to_onnx(given, tmp_path / "model.onnx")


@pytest.mark.parametrize("labels", [5, "cat", [1, 2, 3, 4, 5], {"a": 1}])
def test_labels_that_are_no_texts_are_told(small, labels, tmp_path):
    with pytest.raises(InputError, match="labels: accepted is a list of texts"):
        export.to_onnx(small[0], tmp_path / "other.onnx", labels=labels)


def test_equal_models_with_unnamed_inputs_make_equal_files(tmp_path):
    def made(path):
        keras.utils.set_random_seed(0)
        left, right = keras.Input((8,)), keras.Input((8,))
        model = keras.Model([left, right], layers.Dense(3, name="out")(left + right))
        folded = export.fold(model)
        export.to_onnx(folded, path)
        assert export.validate(model, path).ok
        return path.read_bytes()

    assert made(tmp_path / "one.onnx") == made(tmp_path / "two.onnx")


@pytest.mark.parametrize("name", ["gelu_one", "gelu_root_of_two"])
def test_a_gelu_beside_any_names(name, tmp_path):
    one, other = keras.Input((8,), name=name), keras.Input((8,), name="other")
    x = layers.Activation("gelu")(layers.Add()([one, other]))
    model = keras.Model([one, other], layers.Dense(3)(x))
    path = export.to_onnx(model, tmp_path / "model.onnx")
    assert export.validate(model, path).ok


def test_merged_branches_drop_their_constraints():
    image = keras.Input((8, 8, 4))
    wide = layers.Conv2D(4, 3, padding="same", kernel_constraint="max_norm")(image)
    point = layers.Conv2D(4, 1, bias_constraint="non_neg")(image)
    folded = export.fold(keras.Model(image, layers.Add()([wide, point])))
    (merged,) = [layer for layer in folded.model.layers if isinstance(layer, layers.Conv2D)]
    assert merged.kernel_constraint is None and merged.bias_constraint is None
