"""What `validate` finds in a good file, and in every kind of bad one."""

import json

import keras
import numpy as np
import onnx
import pytest
from keras import layers

import export
from export import parity
from zoo.cards import Card
from zoo.errors import InputError
from zoo.norm import KINDS, PLACEMENTS, Norm
from zoo.preprocessing import Preprocessing

from .models import judged, resnet

PREPROCESSING = Preprocessing(size=(8, 8), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))


@pytest.fixture(scope="module")
def model():
    return judged()


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    labels = [*"abcde"]
    return export.to_onnx(model, folder / "good.onnx", labels=labels, preprocessing=PREPROCESSING)


@pytest.fixture(scope="module")
def data(model):
    """A test split on which the model is right except for every tenth image."""
    random = np.random.default_rng(5)
    images = random.normal(size=(300, 8, 8, 3)).astype(np.float32)
    labels = np.asarray(model(images)).argmax(axis=1)
    labels[::10] = (labels[::10] + 1) % 5
    return images, labels


@pytest.fixture
def spoiled(path, tmp_path):
    """Make a bad file of the good one."""

    def spoil(change):
        proto = onnx.load(path)
        change(proto)
        onnx.save(proto, tmp_path / "bad.onnx")
        return tmp_path / "bad.onnx"

    return spoil


def failed(verdict):
    return {check.name: check for check in verdict.failed}


def change_weight(name, amount):
    """Add to one number of a weight."""

    def change(proto):
        tensor = next(t for t in proto.graph.initializer if t.name == name)
        value = onnx.numpy_helper.to_array(tensor).copy()
        value.flat[0] += amount
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))

    return change


def test_a_good_file_passes_every_check(model, path, data):
    steps = []
    verdict = export.validate(
        model, path, data=data, progress=lambda what, done, total: steps.append((done, total))
    )
    names = [check.name for check in verdict.checks]
    assert verdict.ok, verdict.failed
    for kind in ("random", "zero", "saturated", "real"):
        for batch in (1, 2, 7, 64):
            assert f"{kind} inputs, batch {batch}" in names
    for level in ("off", "basic", "extended", "all"):
        assert f"loads in onnxruntime, optimisations {level}" in names
    accuracy = next(check for check in verdict.checks if check.name == "accuracy on the test split")
    assert accuracy.measured == accuracy.limit == 0.9
    assert steps[-1] == (300, 300)


@pytest.mark.slow
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_norm_exports_and_validates(tmp_path, kind, placement):
    keras.utils.set_random_seed(1)
    model = resnet("resnet8", kind=kind, placement=placement)
    verdict = export.validate(model, export.to_onnx(model, tmp_path / "model.onnx"))
    assert verdict.ok, verdict.failed


@pytest.mark.slow
def test_the_folded_file_computes_what_the_trained_model_computes(tmp_path):
    model = resnet()
    folded = export.fold(model)
    path = export.to_onnx(folded, tmp_path / "folded.onnx", layout="NCHW", probabilities=True)
    for reference in (model, folded):
        verdict = export.validate(reference, path)
        assert verdict.ok, verdict.failed


def test_probabilities_of_large_logits_are_judged_by_the_logits(tmp_path):
    model = resnet()  # its logits of saturated images are large
    path = export.to_onnx(model, tmp_path / "model.onnx", probabilities=True)
    verdict = export.validate(model, path)
    assert verdict.ok, verdict.failed
    plain = export.validate(model, export.to_onnx(model, tmp_path / "plain.onnx"))
    # The probabilities neither fail nor loosen what the logits are held to.
    assert verdict.limit <= plain.limit + parity.FLOOR


def test_probabilities_of_something_else_fail(tmp_path, model):
    path = export.to_onnx(model, tmp_path / "model.onnx", probabilities=True)
    proto = onnx.load(path)
    softmax = next(node for node in proto.graph.node if node.op_type == "Softmax")
    factor = onnx.numpy_helper.from_array(np.float32(1.01), "factor")
    proto.graph.initializer.append(factor)
    before = onnx.helper.make_node("Mul", [softmax.input[0], "factor"], ["scaled"], name="scaled")
    softmax.input[0] = "scaled"
    proto.graph.node.insert(list(proto.graph.node).index(softmax), before)
    onnx.save(proto, path)
    found = failed(export.validate(model, path))
    assert "random inputs, batch 64" in found
    assert "optimisation levels agree" not in found


def test_a_changed_weight_fails_and_names_the_layer(model, spoiled):
    verdict = export.validate(model, spoiled(change_weight("conv/Conv/weight", 0.1)))
    found = failed(verdict)
    assert "random inputs, batch 1" in found
    assert (
        "the first layer whose output is wrong is 'conv'" in found["random inputs, batch 1"].detail
    )


@pytest.mark.slow
def test_a_changed_weight_of_a_folded_file_is_named_against_the_trained_model(tmp_path):
    model = resnet()
    path = export.to_onnx(export.fold(model), tmp_path / "model.onnx")
    proto = onnx.load(path)
    change_weight("stage2_block2_1_conv/Conv/weight", 1.0)(proto)
    onnx.save(proto, path)
    details = [check.detail for check in export.validate(model, path).failed]
    assert any("is 'stage2_block2_1_conv'" in detail for detail in details)


def test_another_number_of_classes_is_a_failed_verdict_that_json_can_hold(model, spoiled):
    images = keras.Input(model.input_shape[1:], name="image")
    other = keras.Model(images, layers.Dense(3, name="logits")(layers.Flatten()(images)))
    verdict = export.validate(other, spoiled(lambda proto: None))
    assert not verdict.ok
    assert verdict.error == float("inf")
    assert json.loads(json.dumps(verdict.to_dict(), allow_nan=False))["error"] == "inf"


def test_rounding_to_bfloat16_fails(model, spoiled):
    def change(proto):
        for tensor in proto.graph.initializer:
            value = onnx.numpy_helper.to_array(tensor)
            if value.dtype == np.float32:
                rounded = (value.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))

    assert "random inputs, batch 64" in failed(export.validate(model, spoiled(change)))


def test_classes_that_change_fail_on_the_test_split(model, spoiled, data):
    found = failed(
        export.validate(model, spoiled(change_weight("logits/Add/bias", 9.0)), data=data)
    )
    assert "top-1 changes on the test split beyond rounding" in found
    assert "top-1 changes beyond rounding" in found
    assert found["accuracy on the test split"].measured < 0.9


def add_input(proto):
    proto.graph.input.append(onnx.helper.make_tensor_value_info("mean", 1, [3]))


def initializer_as_input(proto):
    first = proto.graph.initializer[0]
    proto.graph.input.append(
        onnx.helper.make_tensor_value_info(first.name, first.data_type, first.dims)
    )


def keep_batchnorm(proto):
    """Put a BatchNormalization that does nothing between the logits and their name."""
    last = proto.graph.node[-1]
    last.output[0] = "before"
    names = ["scale", "bias", "mean", "variance"]
    for name in names:
        value = np.full(5, float(name in ("scale", "variance")), np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    proto.graph.node.append(
        onnx.helper.make_node(
            "BatchNormalization", ["before", *names], ["logits"], name="left/BatchNormalization"
        )
    )


def draw_noise(proto):
    last = proto.graph.node[-1]
    last.output[0] = "before"
    proto.graph.node.extend(
        [
            onnx.helper.make_node("RandomNormalLike", ["before"], ["noise"], name="noise"),
            onnx.helper.make_node("Add", ["before", "noise"], ["logits"], name="add"),
        ]
    )


def fix_batch(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def rename_input(proto):
    proto.graph.input[0].name = "x"
    for node in proto.graph.node:
        node.input[:] = ["x" if name == "image" else name for name in node.input]


def unknown_operation(proto):
    proto.graph.node[0].op_type = "Erfc"


def fewer_labels(proto):
    entry = next(p for p in proto.metadata_props if p.key == "foldzoo.labels")
    entry.value = '["a", "b"]'


def damaged_metadata(proto):
    entry = next(p for p in proto.metadata_props if p.key == "foldzoo.labels")
    entry.value = "["


@pytest.mark.parametrize(
    ("change", "name", "told"),
    [
        (add_input, "extra inputs", "mean"),
        (initializer_as_input, "extra inputs", "conv/Conv/weight"),
        (keep_batchnorm, "BatchNormalization nodes not declared as kept", "left"),
        (draw_noise, "nodes in training mode", "noise"),
        (fix_batch, "inputs", ""),
        (rename_input, "inputs", ""),
        (unknown_operation, "ONNX checker", "Erfc"),
        (unknown_operation, "loads in onnxruntime, optimisations off", "Erfc"),
        (fewer_labels, "labels", ""),
        (damaged_metadata, "metadata", "foldzoo.labels"),
        (change_weight("conv/Conv/weight", np.nan), "weights that are not finite", "conv"),
        (change_weight("conv/Conv/weight", np.nan), "random inputs, batch 1", "conv"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bad_file_fails_and_says_why(model, spoiled, change, name, told):
    found = failed(export.validate(model, spoiled(change)))
    assert name in found
    assert told in found[name].detail


def card_of(**changes) -> Card:
    """The card of the weights that the good file was made of."""
    values = {
        "name": "small.test",
        "arch": "small",
        "input_shape": (8, 8, 3),
        "num_classes": 5,
        "norm": Norm(),
        "dropout": 0.0,
        "width": 1.0,
        "preprocessing": PREPROCESSING,
        "labels": tuple("abcde"),
        "dataset": "none",
        "precision": "float32",
        "metrics": {},
        "recipe": {},
        "sha256": "0" * 64,
        "versions": {},
    }
    return Card(**{**values, **changes})


def tell(key, value):
    """Write another value into the file's metadata."""

    def change(proto):
        next(p for p in proto.metadata_props if p.key == f"foldzoo.{key}").value = value

    return change


def test_what_the_file_tells_its_server_is_compared_with_the_card(model, path, spoiled):
    assert export.validate(model, path, card=card_of()).ok
    turned = export.validate(
        model, spoiled(tell("labels", '["e","d","c","b","a"]')), card=card_of()
    )
    assert list(failed(turned)) == ["labels as in the card"]
    other = Preprocessing(size=(8, 8), mean=(0.4, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    found = failed(export.validate(model, path, card=card_of(preprocessing=other)))
    assert list(found) == ["preprocessing as in the card"]
    assert "0.4" in found["preprocessing as in the card"].limit


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layout", "HWCN"),
        ("source_sha256", "abc"),
        ("preprocessing", '{"size": [8, 8], "mean": [NaN, NaN, NaN]}'),
    ],
)
def test_metadata_that_cannot_be_is_damaged(model, spoiled, key, value):
    found = failed(export.validate(model, spoiled(tell(key, value))))
    assert f"foldzoo.{key}" in found["metadata"].detail


def test_a_file_cannot_choose_the_images_that_it_is_judged_on(model, spoiled):
    """Pixels that are no numbers would leave nothing to compare."""

    def change(proto):
        tell("preprocessing", '{"size": [8, 8], "mean": [NaN, NaN, NaN]}')(proto)
        change_weight("conv/Conv/weight", 0.1)(proto)

    found = failed(export.validate(model, spoiled(change)))
    assert "random inputs, batch 64" in found


def strange_type(proto):
    proto.graph.input[0].type.tensor_type.elem_type = 99


def strange_weights(proto):
    proto.graph.initializer[0].data_type = 99


def weights_elsewhere(proto):
    tensor = proto.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


@pytest.mark.parametrize("change", [strange_type, strange_weights, weights_elsewhere])
def test_a_file_that_onnx_itself_cannot_read_fails(model, path, tmp_path, change):
    proto = onnx.load(path)
    change(proto)
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(proto.SerializeToString())
    assert "ONNX checker" in failed(export.validate(model, bad))


def test_a_file_of_another_model_fails(path):
    other = judged()
    other.layers[0].kernel.assign(-other.layers[0].kernel)
    assert not export.validate(other, path).ok


def test_a_file_with_other_outputs_fails(path):
    image = keras.Input((8, 8, 3))
    other = keras.Model(image, layers.Dense(7)(layers.Flatten()(image)))
    found = failed(export.validate(other, path))
    assert {"outputs", "random inputs, batch 1"} <= set(found)


def test_what_is_no_file_is_told(model, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        export.validate(model, tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(InputError, match="is not an ONNX file"):
        export.validate(model, tmp_path / "text.onnx")


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (np.zeros((2, 8, 8, 3)), np.zeros(2, int), "accepted are float32 images"),
        (np.zeros((2, 9, 8, 3), np.float32), np.zeros(2, int), "accepted are float32 images"),
        (np.zeros((2, 8, 8, 3), np.float32), np.zeros(3, int), "one whole number for each"),
        (np.zeros((2, 8, 8, 3), np.float32), np.zeros(2), "one whole number for each"),
        (np.zeros((2, 8, 8, 3), np.float32), np.array([0, 5]), "classes from 0 to 4"),
        (np.zeros((2, 8, 8, 3), np.float32), np.array([-1, 4]), "classes from 0 to 4"),
        (np.full((2, 8, 8, 3), np.nan, np.float32), np.zeros(2, int), "finite images"),
    ],
)
def test_a_test_split_that_the_model_does_not_take_is_told(model, path, images, labels, told):
    with pytest.raises(InputError, match=told):
        export.validate(model, path, data=(images, labels))
