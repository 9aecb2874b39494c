"""Files that take images as a decoder makes them: their preprocessing is the card's."""

import json

import numpy as np
import onnx
import PIL.Image
import pytest

import export
import training
import zoo
from export import pixel_checks, pixels
from export.onnx_metadata import load, read_metadata
from export.onnx_runtime import Session
from export.prediction import classifier
from zoo.preprocessing import Preprocessing

from .models import resnet

SIZES = [(24, 40), (23, 70), (300, 200), (20, 20), (1, 1), (48, 80), (24, 41), (200, 30)]
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


def made(**values):
    return Preprocessing(**{"size": (24, 40), "mean": MEAN, "std": STD, **values})


def behind(preprocessing, *, nchw):
    """A file that returns what it takes."""
    sides = list(preprocessing.size)
    channels = [preprocessing.channels]
    shape = ["batch", *channels, *sides] if nchw else ["batch", *sides, *channels]
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["logits"], name="same/Identity")],
        "same",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, shape)],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def photograph(height, width, channels):
    """Two images with smooth surfaces and edges."""
    random = np.random.default_rng(height * 1000 + width)
    small = random.integers(0, 256, (2, height // 4 + 1, width // 4 + 1, channels), np.uint8)
    return small.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]


def levels(values, images, preprocessing):
    """How far from Pillow's preprocessing the values are, in levels of grey."""
    wanted = np.stack(
        [
            preprocessing.resize(PIL.Image.fromarray(i[..., 0] if i.shape[-1] == 1 else i))
            for i in images
        ]
    )
    step = preprocessing.scale / np.asarray(preprocessing.std)
    return np.abs(values - preprocessing(wanted)) / step


@pytest.mark.parametrize("nchw", [False, True])
@pytest.mark.parametrize("crop", [0.0, 0.875, 1.0])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_the_front_does_what_pillow_does(interpolation, crop, nchw):
    preprocessing = made(interpolation=interpolation, crop=crop)
    whole = pixels.embedded(behind(preprocessing, nchw=nchw), preprocessing, nchw=nchw)
    onnx.checker.check_model(whole, full_check=True)
    session = Session(whole)
    for size in SIZES:
        images = photograph(*size, 3)
        (values,) = session.run([images])
        values = np.moveaxis(values, 1, -1) if nchw else values
        off = levels(values, images, preprocessing)
        # A middle between two levels may be rounded to either; the rest is float32's rounding.
        assert off.max() <= 1.001, size
        assert np.mean(off > 0.5) <= 0.05, size
        if size == preprocessing.size:
            assert off.max() <= 1e-3


@pytest.mark.parametrize("nchw", [False, True])
def test_the_front_turns_the_colours_round_where_the_model_takes_blue_first(nchw):
    preprocessing = made(order="bgr")
    whole = pixels.embedded(behind(preprocessing, nchw=nchw), preprocessing, nchw=nchw)
    images = photograph(*preprocessing.size, 3)
    (values,) = Session(whole).run([images])
    values = np.moveaxis(values, 1, -1) if nchw else values
    assert levels(values, images, preprocessing).max() <= 1e-3  # of float32's rounding


def test_grey_images_have_one_channel():
    preprocessing = made(channels=1, mean=(0.3,), std=(0.2,))
    whole = pixels.embedded(behind(preprocessing, nchw=False), preprocessing, nchw=False)
    images = photograph(50, 60, 1)
    assert levels(Session(whole).run([images])[0], images, preprocessing).max() <= 1.001


@pytest.fixture(scope="module")
def model():
    return resnet()


@pytest.fixture(scope="module")
def preprocessing(model):
    return made(size=model.input_shape[1:3], crop=0.875)


@pytest.fixture(scope="module")
def path(model, preprocessing, tmp_path_factory):
    return export.to_onnx(
        export.fold(model),
        tmp_path_factory.mktemp("pixels") / "model.onnx",
        preprocessing=preprocessing,
        pixels=True,
    )


def test_the_file_declares_images_of_any_size(path):
    proto = load(path)
    (image,) = proto.graph.input
    sizes = [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim]
    assert (image.name, sizes) == ("image", ["batch", "height", "width", 3])
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert read_metadata(path)["input"] == "pixels"
    assert proto.opset_import[0].version == 17


def test_what_lies_behind_is_the_file_without_it(path, model, preprocessing, tmp_path):
    plain = load(
        export.to_onnx(export.fold(model), tmp_path / "plain.onnx", preprocessing=preprocessing)
    )
    _, rest = pixel_checks.apart(load(path), export.subject.subject(model), read_metadata(path))
    assert rest.graph == plain.graph


def test_it_passes_validation(path, model):
    verdict = export.validate(model, path)
    assert verdict.ok, verdict.why
    names = {check.name for check in verdict.checks}
    assert {"parity with Keras from pixels", "preprocessing, largest difference in levels"} <= names


def damaged(path, tmp_path, change):
    proto = load(path)
    change(proto.graph)
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(proto.SerializeToString())
    return wrong


def another_mean(graph):
    for tensor in graph.initializer:
        if tensor.name == "preprocessing/mean":
            value = onnx.numpy_helper.to_array(tensor) + np.float32(0.01)  # 2.55 levels
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))


def cut_off(graph):
    for tensor in graph.initializer:
        if tensor.name == "preprocessing/half":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(0), tensor.name))


def past_the_front(graph):
    first = next(node for node in graph.node if pixels.READY in node.input)
    first.input[list(first.input).index(pixels.READY)] = "preprocessing/Sub"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (another_mean, "preprocessing, largest difference in levels"),
        (cut_off, "preprocessing, share of other values"),
        (past_the_front, "loads in onnxruntime, optimisations off"),
    ],
)
def test_a_changed_front_is_found(path, model, tmp_path, change, found):
    verdict = export.validate(model, damaged(path, tmp_path, change))
    assert not verdict.ok
    assert found in {check.name for check in verdict.failed}


def test_a_picture_is_classified_as_the_model_classifies_it(path, model, preprocessing, tmp_path):
    file = tmp_path / "picture.png"
    PIL.Image.fromarray(photograph(50, 71, 3)[0]).save(file)
    told = dict(classifier(path).top(file))
    image = preprocessing(preprocessing.read(file)[np.newaxis])
    logits = np.asarray(model(image, training=False))[0].astype(np.float64)
    wanted = np.exp(logits) / np.exp(logits).sum()
    assert len(told) == 5
    for label, probability in told.items():
        # A few of 192 values may be one level off, a 255th of their range: with weights of the size
        # of 1 that moves a logit by hundredths at most.
        assert probability == pytest.approx(wanted[int(label)], rel=0.05)


def test_pixels_need_a_preprocessing(model, tmp_path):
    with pytest.raises(zoo.InputError, match="pixels: accepted with a preprocessing"):
        export.to_onnx(model, tmp_path / "model.onnx", pixels=True)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_bundle_for_a_server_takes_pixels(precision, tmp_path):
    data = training.load_data("digits")
    made = zoo.card("resnet20.digits").preprocessing
    bundle = export.bundle(
        "resnet20.digits",
        tmp_path / "bundle",
        target="triton",
        precision=precision,
        pixels=True,
        data=(made(data.test.images), data.test.labels),
        calibration=(made(data.train.images[:640]), data.train.labels[:640]),
    )
    config = (bundle / "resnet20.digits" / "config.pbtxt").read_text(encoding="utf-8")
    assert "TYPE_UINT8" in config
    request = json.loads((bundle / "sample_request.json").read_text(encoding="utf-8"))
    assert request["inputs"][0]["datatype"] == "UINT8"
    verdict = export.validate_bundle(bundle)
    assert verdict.ok, verdict.why()


@pytest.mark.parametrize("asked", [{"pixels": True}, {"precision": "int8", "calibration": ()}])
def test_a_server_that_reads_no_onnx_file_takes_neither_pixels_nor_integers(asked, tmp_path):
    with pytest.raises(zoo.InputError, match="target tfserving: what it runs is no ONNX file"):
        export.bundle("resnet20.digits", tmp_path / "bundle", target="tfserving", **asked)
