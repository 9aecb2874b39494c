"""What `to_onnx` writes, what it refuses, and that nothing wrong gets the final name."""

import json
from collections import Counter

import keras
import numpy as np
import onnx
import pytest
from keras import layers

import export
import zoo
from export import onnx_conversion
from export.errors import ExportError
from export.fingerprint import fingerprint
from export.onnx_metadata import read_metadata
from export.onnx_runtime import Session
from zoo.errors import InputError
from zoo.preprocessing import Preprocessing

from .models import dense, resnet

LABELS = [f"class {number}" for number in range(10)]
PREPROCESSING = Preprocessing(size=(8, 8), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))

# Two float32 programs that sum in other orders. The models here have at most a few layers of sums
# over a few hundred products, each off by some 2^-24 of the largest: a few 1e-7 of it at the end.
FLOAT32 = 2e-6


def run(path, *inputs):
    """What onnxruntime makes of a file."""
    nchw = read_metadata(path)["layout"] == "NCHW"
    return Session(onnx.load(path), nchw=nchw).run(inputs)


def operations(path):
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def described(values):
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in values
    }


def images(model, count=3):
    return np.random.default_rng(0).normal(size=(count, *model.input_shape[1:])).astype(np.float32)


def assert_same(path, model):
    """The file computes what Keras computes, on one batch."""
    x = images(model)
    wanted = np.asarray(model(x, training=False))
    (made,) = run(path, x)
    assert np.abs(made - wanted).max() <= FLOAT32 * np.abs(wanted).max()


@pytest.fixture(scope="module")
def model():
    return resnet()


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    """A file with everything in it."""
    return export.to_onnx(
        model,
        tmp_path_factory.mktemp("onnx") / "model.onnx",
        preprocessing=PREPROCESSING,
        labels=LABELS,
        probabilities=True,
    )


def test_the_interface_has_fixed_names_and_a_symbolic_batch(path):
    graph = onnx.load(path).graph
    assert described(graph.input) == {"image": ["batch", 8, 8, 3]}
    assert described(graph.output) == {"logits": ["batch", 10], "probabilities": ["batch", 10]}


def test_probabilities_are_the_softmax_of_the_logits(path, model):
    logits, probabilities = run(path, images(model))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    # One exponential, one sum of ten and one division in float32.
    np.testing.assert_allclose(probabilities, powers / powers.sum(axis=1, keepdims=True), rtol=1e-6)


def test_the_file_says_what_a_server_needs(path, model):
    said = read_metadata(path)
    assert Preprocessing(**said["preprocessing"]) == PREPROCESSING
    assert said["labels"] == LABELS
    assert said["layout"] == "NHWC"
    assert said["source_sha256"] == fingerprint(model)
    assert set(said["versions"]) == {"foldzoo", "keras", "tensorflow", "tf2onnx", "onnx"}
    assert len(said["batchnorm_kept"]) == 19
    assert onnx.load(path).producer_name == "foldzoo"


def test_a_folded_model_tells_its_source_and_what_was_kept(tmp_path, model):
    folded = export.fold(model)
    said = read_metadata(export.to_onnx(folded, tmp_path / "folded.onnx"))
    assert said["source_sha256"] == folded.report.source_sha256 == fingerprint(model)
    assert said["batchnorm_kept"] == []
    assert said.get("labels") is None


def test_the_graph_is_clean(path):
    proto = onnx.load(path)
    names = [node.name for node in proto.graph.node]
    used = {name for node in proto.graph.node for name in node.input}
    assert len(set(names)) == len(names)
    assert "stem_act/Relu" in names
    assert {tensor.name for tensor in proto.graph.initializer} <= used
    assert not proto.graph.doc_string
    assert not any(node.doc_string for node in proto.graph.node)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 17)]


def test_nchw_takes_channels_first_and_has_no_transpose(tmp_path, model):
    path = export.to_onnx(model, tmp_path / "nchw.onnx", layout="NCHW")
    assert described(onnx.load(path).graph.input) == {"image": ["batch", 3, 8, 8]}
    assert operations(path)["Transpose"] == 0
    assert_same(path, model)


def test_a_gated_network_has_one_transpose(tmp_path):
    """The users of a tensor come in an order in which a Transpose moves past all of them."""
    model = zoo.create_model("mobilenet_v3_small", input_shape=(32, 32, 3))
    assert operations(export.to_onnx(model, tmp_path / "model.onnx"))["Transpose"] == 1


def test_mixed_precision_becomes_plain_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = resnet()
    keras.config.set_dtype_policy("float32")
    path = export.to_onnx(model, tmp_path / "mixed.onnx")
    types = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert operations(path)["Cast"] == 0
    assert types <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}  # INT64: axes and pads
    assert_same(path, export.rebuild(model))


CONVOLUTIONS = {
    "grouped": lambda: layers.Conv2D(8, 3, groups=2),
    "dilated": lambda: layers.Conv2D(8, 3, dilation_rate=2, padding="same"),
    "strided": lambda: layers.Conv2D(8, 3, strides=2, padding="same"),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
    "separable": lambda: layers.SeparableConv2D(8, 3),
    "transposed": lambda: layers.Conv2DTranspose(8, 3, strides=2, padding="same"),
    "one dimension": lambda: layers.TimeDistributed(layers.Conv1D(8, 3)),
}


@pytest.mark.parametrize("layer", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions_of_all_kinds(tmp_path, layer):
    model = keras.Sequential(
        [keras.Input((8, 8, 4)), layer(), layers.ReLU(), layers.Flatten(), layers.Dense(3)]
    )
    path = export.to_onnx(model, tmp_path / "model.onnx")
    assert "StatefulPartitionedCall" not in operations(path)
    assert_same(path, model)


def test_a_layer_called_twice_and_an_operation(tmp_path):
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    image = keras.Input((6, 6, 3))
    model = keras.Model(image, shared(shared(image)) + 1.0)
    path = export.to_onnx(model, tmp_path / "model.onnx")
    assert {"shared/Conv", "shared/Conv_2"} <= {node.name for node in onnx.load(path).graph.node}
    assert_same(path, model)


@pytest.mark.filterwarnings("error:tf2onnx left")
@pytest.mark.parametrize("size", [8, None])
def test_a_scalar_added_to_a_convolution_leaves_no_transpose_inside(tmp_path, size):
    # tf2onnx 1.17 raises on the scalar, goes on, and leaves a pair around each convolution.
    image = keras.Input((size, size, 3))
    x = layers.Conv2D(4, 3, use_bias=False)(image) + 3.0
    x = layers.Conv2D(4, 3, padding="same")(2.0 + layers.ReLU()(x))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    path = export.to_onnx(model, tmp_path / "model.onnx")
    assert operations(path)["Transpose"] <= 1
    values = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(run(path, values)[0], model(values), rtol=FLOAT32, atol=FLOAT32)


def test_a_pass_of_the_converter_that_fails_is_told(tmp_path, monkeypatch):
    from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

    def failing(self, graph):
        raise KeyError("pass")

    monkeypatch.setattr(TransposeOptimizer, "_optimize", failing)
    model = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(2, 3), layers.Conv2D(2, 3)])
    told = r"optimize_transpose: KeyError: 'pass'"
    with pytest.warns(UserWarning, match=told) as caught:
        path = export.to_onnx(model, tmp_path / "model.onnx")
    assert sum(isinstance(warning.message, UserWarning) for warning in caught) == 1
    assert_same(path, model)


def test_normalization_layers_become_constants(tmp_path):
    learned = layers.Normalization()
    learned.adapt(np.random.default_rng(0).normal(size=(9, 6, 6, 3)))
    given = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])
    image = keras.Input((6, 6, 3))
    model = keras.Model(image, layers.Conv2D(2, 3)(learned(given(image))))
    assert_same(export.to_onnx(model, tmp_path / "model.onnx"), model)


def test_several_inputs_and_outputs_keep_their_names(tmp_path):
    left, right = keras.Input((4,), name="left"), keras.Input((6,), name="right")
    joined = layers.Concatenate()([left, right])
    outputs = {"sum": layers.Dense(3)(joined), "copy": layers.Dense(2)(left)}
    graph = onnx.load(
        export.to_onnx(keras.Model([left, right], outputs), tmp_path / "model.onnx")
    ).graph
    assert described(graph.input) == {"left": ["batch", 4], "right": ["batch", 6]}
    assert described(graph.output) == {"copy": ["batch", 2], "sum": ["batch", 3]}


def test_an_input_and_an_output_of_one_name_are_told_apart(tmp_path):
    image = keras.Input((6, 6, 3))
    x = layers.Conv2D(3, 3, padding="same", name="image")(image)
    decoder = keras.Model(image, {"image": x, "score": layers.Flatten()(x)})
    path = export.to_onnx(decoder, tmp_path / "decoder.onnx")
    assert [value.name for value in onnx.load(path).graph.output] == ["image_1", "score"]
    assert export.validate(decoder, path).ok

    taken = [keras.Input((4,), name="logits"), keras.Input((4,), name="probabilities")]
    model = keras.Model(taken, layers.Dense(3)(layers.Add()(taken)))
    path = export.to_onnx(model, tmp_path / "model.onnx", probabilities=True)
    graph = onnx.load(path).graph
    assert [value.name for value in graph.input] == ["logits_1", "probabilities_1"]
    assert [value.name for value in graph.output] == ["logits", "probabilities"]
    assert export.validate(model, path).ok


def test_feature_maps_of_any_size(tmp_path):
    model = zoo.create_model("resnet20", input_shape=(None, None, 3), width=0.5, features_only=True)
    graph = onnx.load(export.to_onnx(model, tmp_path / "model.onnx")).graph
    assert described(graph.input) == {"image": ["batch", "image_height", "image_width", 3]}
    assert [output.name for output in graph.output] == ["stride_1", "stride_2", "stride_4"]


@pytest.mark.parametrize("opset", [13, 18])
def test_other_opsets(tmp_path, opset):
    path = export.to_onnx(dense(), tmp_path / "model.onnx", opset=opset)
    assert onnx.load(path).opset_import[0].version == opset


def unknown():
    """A model with an operation that the converter does not know, yet writes and calls done."""
    image = keras.Input((4, 4, 3))
    x = layers.Conv2D(2, 3, name="conv")(image)
    return keras.Model(image, layers.Activation(keras.ops.erfinv, name="inverse")(x), name="net")


def test_what_the_converter_does_not_know_is_told_and_nothing_is_left(tmp_path):
    with pytest.raises(ExportError) as caught:
        export.to_onnx(unknown(), tmp_path / "model.onnx")
    assert str(caught.value) == (
        "tf2onnx cannot convert the model 'net', in layer 'inverse': Tensorflow op Erfinv is not "
        "supported"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_stays_when_the_export_fails(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ExportError):
        export.to_onnx(unknown(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda proto: damaged_weight(proto, 1.0), "'only'"),
        (lambda proto: damaged_weight(proto, np.nan), "not finite"),
        (lambda proto: proto.graph.node[0].input.append("ghost"), "ONNX checker"),
    ],
)
def test_a_conversion_that_is_wrong_is_caught(tmp_path, monkeypatch, damage, told):
    convert = onnx_conversion.convert

    def wrong(*args, **kwargs):
        proto = convert(*args, **kwargs)
        damage(proto)
        return proto

    monkeypatch.setattr(onnx_conversion, "convert", wrong)
    with pytest.raises(ExportError, match=told) as caught:
        export.to_onnx(dense(), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def damaged_weight(proto, amount):
    tensor = next(t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    value = onnx.numpy_helper.to_array(tensor).copy()
    value.flat[0] += amount
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"opset": 19}, "opset: accepted are 13 to 18"),
        ({"opset": 12}, "received 12"),
        ({"opset": "17"}, "received '17'"),
        ({"layout": "CHWN"}, "layout: accepted are NHWC and NCHW"),
        ({"layout": "NCHW"}, "whose inputs are all (batch, height, width, channels)"),
        ({"labels": ["a", "b"]}, "labels: accepted are as many as the model has logits, 3"),
        ({"labels": "abc"}, "labels: accepted is a list of texts"),
        ({"preprocessing": PREPROCESSING}, "preprocessing: accepted is one for the model's input"),
        ({"preprocessing": 3}, "preprocessing: accepted is a zoo.preprocessing.Preprocessing"),
    ],
)
def test_bad_options_are_told_in_one_line(tmp_path, options, told):
    with pytest.raises(InputError) as caught:
        export.to_onnx(dense(), tmp_path / "model.onnx", **options)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_bad_models_and_paths_are_told(tmp_path):
    with pytest.raises(InputError, match=r"accepted are a keras.Model and an export.Folded"):
        export.to_onnx("resnet20", tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"has no graph"):
        export.to_onnx(keras.Sequential([layers.Dense(1)]), tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"ends in \.onnx"):
        export.to_onnx(dense(), tmp_path / "model.pb")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        export.to_onnx(dense(), tmp_path / "file" / "model.onnx")


def test_probabilities_are_refused_where_the_model_has_them(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, "softmax", name="end")])
    with pytest.raises(InputError, match="the layer 'end' applies a softmax already"):
        export.to_onnx(model, tmp_path / "model.onnx", probabilities=True)


def test_the_model_given_is_not_changed(tmp_path):
    model = dense()
    before = fingerprint(model)
    names = [layer.name for layer in model.layers]
    export.to_onnx(model, tmp_path / "model.onnx")
    assert fingerprint(model) == before
    assert [layer.name for layer in model.layers] == names


class TestMetadata:
    @pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07"])
    def test_what_is_no_onnx_file_is_told(self, tmp_path, content):
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        with pytest.raises(InputError, match="is not an ONNX file"):
            read_metadata(path)

    def test_a_missing_file_is_told(self, tmp_path):
        with pytest.raises(InputError, match="does not exist; accepted is an ONNX file"):
            read_metadata(tmp_path / "none.onnx")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("labels", "{"),
            ("labels", json.dumps([1])),
            ("batchnorm_kept", json.dumps([{}])),
            ("preprocessing", json.dumps({"size": [0, 8]})),
            ("preprocessing", "3"),
        ],
    )
    def test_damage_is_told(self, tmp_path, path, key, value):
        proto = onnx.load(path)
        next(p for p in proto.metadata_props if p.key == f"foldzoo.{key}").value = value
        onnx.save(proto, tmp_path / "model.onnx")
        with pytest.raises(InputError, match=f"foldzoo.{key} is damaged"):
            read_metadata(tmp_path / "model.onnx")
