"""Fewer bits: sound, as accurate as asked, chosen by what is measured, or refused in one line."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import onnx
import pytest
from keras import layers

import export
import zoo
from export import calibration, comparison, quantization
from export.onnx_checks import structure_as
from export.onnx_metadata import load, metadata_of
from export.onnx_runtime import Session
from export.trials import logits

CLASSES = 4
GENERATOR = np.random.default_rng(0)
PATTERNS = GENERATOR.normal(size=(CLASSES, 8, 8, 3)).astype(np.float32)


def make_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of four patterns in noise, and which pattern each shows."""
    random = np.random.default_rng(seed)
    truth = np.arange(count) % CLASSES
    noise = random.normal(size=(count, 8, 8, 3)).astype(np.float32)
    return PATTERNS[truth] + noise, truth


TRAIN, TEST = make_images(160, 1), make_images(80, 2)


def make_model() -> keras.Model:
    """A net that tells the patterns apart: its last layer is fitted by least squares."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="conv")(image)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu6", name="depth")(x)
    x = layers.Conv2D(16, 1, name="point")(x)
    x = layers.Add(name="sum")([x, layers.Conv2D(16, 1, name="skip")(image)])
    x = layers.MaxPooling2D(2, name="pool")(layers.ReLU(name="act")(x))
    features = keras.Model(image, layers.Flatten(name="flat")(x))
    dense = layers.Dense(CLASSES, name="logits")
    model = keras.Model(image, dense(features.output), name="tiny")
    values = np.column_stack([features.predict(TRAIN[0], verbose=0), np.ones(len(TRAIN[0]))])
    solved = np.linalg.lstsq(values, 4 * np.eye(CLASSES)[TRAIN[1]], rcond=1e-3)[0]
    dense.set_weights([solved[:-1], solved[-1]])
    return model


PREPROCESSING = zoo.Preprocessing(size=(8, 8), mean=(0.5,) * 3, std=(0.2,) * 3)
LABELS = ["ant", "bee", "cat", "dog"]


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("float") / "tiny.onnx"
    return export.to_onnx(make_model(), path, preprocessing=PREPROCESSING, labels=LABELS)


@pytest.fixture(scope="module", params=quantization.PRECISIONS)
def made(request, floats, tmp_path_factory):
    """The net in fewer bits. With two thirds of it in chance, a lost image is over a point."""
    out = tmp_path_factory.mktemp("made") / "small.onnx"
    return export.quantize(
        floats, out, calibration=TRAIN, test=TEST, precision=request.param, accuracy_limit=5
    )


def test_the_float_net_knows_the_patterns(floats):
    """Without that, no loss of accuracy could be seen."""
    values = logits(Session(load(floats)), TEST[0])
    assert (values.argmax(axis=-1) == TEST[1]).mean() > 0.8


def test_a_file_of_fewer_bits_is_sound_and_says_what_its_float_file_says(made, floats):
    assert made.ok, made.verdict.why()
    proto, original = load(made.path), load(floats)
    checks = structure_as(proto, original, metadata_of(proto))
    assert [check.name for check in checks if not check.ok] == []
    said = export.read_metadata(made.path)
    facts = said.pop("quantization")
    assert said == export.read_metadata(floats)
    assert facts["precision"] == made.precision
    assert facts["float_sha256"] == zoo.files.sha256(floats)
    assert {entry.domain for entry in proto.opset_import} == {""}
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_weights_take_the_bits_that_were_asked_for(made):
    kinds = {tensor.data_type for tensor in load(made.path).graph.initializer}
    wanted = {"int8": onnx.TensorProto.INT8, "fp16": onnx.TensorProto.FLOAT16}
    assert wanted[made.precision] in kinds


def test_what_is_told_of_accuracy_is_so(made, floats):
    """The numbers are counted again, by another way."""
    images, truth = TEST
    few, full = (logits(Session(load(path)), images) for path in (made.path, floats))
    lost = (full.argmax(-1) == truth).mean() - (few.argmax(-1) == truth).mean()
    assert made.reported.drop == pytest.approx(100 * lost)
    assert made.reported.drop_low <= made.reported.drop <= made.reported.drop_high
    assert made.reported.images == len(images)
    assert made.reported.loss <= made.accuracy_limit


def test_the_best_of_what_was_tried_is_taken(made):
    assert made.chosen == min(made.tried, key=lambda trial: trial.rank)
    ways = {(trial.settings.calibrator, trial.settings.per_channel) for trial in made.tried}
    if made.precision == "int8":
        assert ways == {(name, flag) for name in calibration.CALIBRATORS for flag in (0, 1)}
    json.dumps(made.to_dict(), allow_nan=False)


def test_images_that_choose_do_not_report(made):
    """80 images for calibration and 80 that choose are the training images, and no others."""
    assert made.chosen.comparison.images == len(TRAIN[0]) - len(TRAIN[0]) // 2
    parts = calibration.divide(*TRAIN, 1000, 1000)
    together = np.concatenate(parts[:2])
    assert np.unique(together, axis=0).shape == TRAIN[0].shape  # none in both


def make_once(floats, out, **options):
    return export.quantize(
        floats, out, calibration=TRAIN, accuracy_limit=100, calibrators=["minmax"], **options
    )


SCRIPT = """
import sys, numpy, export
data = numpy.load(sys.argv[1])
export.quantize(sys.argv[2], sys.argv[3], calibration=(data["x"], data["y"]), accuracy_limit=5)
"""


@pytest.mark.slow
def test_equal_arguments_make_equal_bytes_in_any_process(made, floats, tmp_path):
    """Sets of texts have another order in each process."""
    if made.precision == "fp16":
        again = export.quantize(
            floats, tmp_path / "a.onnx", calibration=TRAIN, precision="fp16", accuracy_limit=5
        )
        assert again.path.read_bytes() == made.path.read_bytes()
        return
    np.savez(tmp_path / "data.npz", x=TRAIN[0], y=TRAIN[1])
    out = tmp_path / "b.onnx"
    subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "data.npz", floats, out],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert out.read_bytes() == made.path.read_bytes()


@pytest.mark.parametrize("cpu", ["x86", "x86-vnni", "arm"])
def test_types_are_those_of_the_processor(floats, tmp_path, cpu):
    made = make_once(floats, tmp_path / "a.onnx", cpu=cpu, per_channel=True)
    proto = load(made.path)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    activations = {
        constants[node.input[2]].dtype.name
        for node in proto.graph.node
        if node.op_type == "QuantizeLinear"
    }
    assert activations == {"int8" if cpu == "arm" else "uint8"}
    weights = [value for value in constants.values() if value.dtype == np.int8 and value.ndim > 1]
    largest = max(int(np.abs(value.astype(int)).max()) for value in weights)
    assert largest == (64 if cpu == "x86" else 127)  # 7 bits where sums of two saturate at 16
    assert made.cpu == cpu


def test_what_leaves_the_file_is_computed_in_float(floats, tmp_path):
    """Logits in 256 steps would tie; so would probabilities."""
    path = export.to_onnx(make_model(), tmp_path / "two.onnx", probabilities=True)
    for given in (floats, path):
        made = make_once(given, tmp_path / "a.onnx")
        values = logits(Session(load(made.path)), TEST[0])
        assert len(np.unique(values)) > 256
        producers = {
            out: node.op_type for node in load(made.path).graph.node for out in node.output
        }
        ends = {producers[value.name] for value in load(made.path).graph.output}
        assert "DequantizeLinear" not in ends


def test_probabilities_and_channels_first_are_kept(tmp_path):
    path = export.to_onnx(make_model(), tmp_path / "f.onnx", layout="NCHW", probabilities=True)
    for precision in quantization.PRECISIONS:
        made = export.quantize(
            path, tmp_path / "a.onnx", calibration=TRAIN, precision=precision, accuracy_limit=5
        )
        session = Session(load(made.path), nchw=True)
        assert session.outputs == ["logits", "probabilities"]
        values, shares = session.run([TEST[0]])
        assert (values.argmax(-1) == TEST[1]).mean() > 0.8
        # Of float16, shares near 1 have steps of 2^-11.
        np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=CLASSES * 2.0**-11)


def test_without_labels_what_changes_class_counts(floats, tmp_path):
    out = tmp_path / "a.onnx"
    made = export.quantize(floats, out, calibration=TRAIN[0], accuracy_limit=10)
    found = made.chosen.comparison
    assert (found.drop, made.reported) == (None, None)
    assert found.loss == pytest.approx(100 * (1 - found.agreement))
    assert found.loss <= 10


def spoilt(found, after: int):
    """Make files look bad until so many layers stay in float32."""

    def convert(*args, float_layers=(), only=(), **options):
        proto = found(*args, float_layers=float_layers, only=only, **options)
        if len(float_layers) < after and not only:
            for tensor in proto.graph.initializer:
                if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1:
                    zero = np.zeros(tensor.dims, np.int8)
                    tensor.CopyFrom(onnx.numpy_helper.from_array(zero, tensor.name))
        return proto

    return convert


def test_layers_stay_in_float_until_it_is_good_enough(floats, tmp_path, monkeypatch):
    from export import int8

    monkeypatch.setattr(int8, "convert", spoilt(int8.convert, after=2))
    made = make_once_strictly(floats, tmp_path / "a.onnx")
    assert [len(trial.settings.float_layers) for trial in made.tried] == [0, 0, 1, 2]
    kept = made.chosen.settings.float_layers
    proto = load(made.path)
    constants = {t.name: t.data_type for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.name in kept:  # its weight is as it was
            assert constants[node.input[1]] == onnx.TensorProto.FLOAT
    assert export.read_metadata(made.path)["quantization"]["float_layers"] == list(kept)


def make_once_strictly(floats, out):
    return export.quantize(floats, out, calibration=TRAIN, accuracy_limit=5, calibrators=["minmax"])


def wrong(exact, other, labels):
    """Compare with the classes shifted by one: nothing is good enough."""
    return comparison.compare(exact, np.roll(other, 1, axis=-1), labels)


def test_what_misses_its_limit_leaves_nothing_and_tells_the_best(floats, tmp_path, monkeypatch):
    monkeypatch.setattr("export.trials.compare", wrong)
    (tmp_path / "a.onnx").write_bytes(b"older")
    with pytest.raises(
        export.ExportError, match=r"no int8 file within 5 points; the best of 4"
    ) as no:
        make_once_strictly(floats, tmp_path / "a.onnx")
    assert len(no.value.tried) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    assert (tmp_path / "a.onnx").read_bytes() == b"older"


def test_what_chose_well_and_reports_badly_is_no_pass(floats, tmp_path):
    """Images that lie where the float file changes its class tell any two files apart."""
    images = TEST[0]
    values = logits(Session(load(floats)), images)
    nearest = np.sort(values, axis=-1)
    near = np.argsort(nearest[:, -1] - nearest[:, -2])[:1]  # the one whose class changes first
    with pytest.raises(export.ExportError, match="accuracy lost on the test split"):
        borders = borderline(floats, images[near[0]])
        export.quantize(
            floats,
            tmp_path / "a.onnx",
            calibration=TRAIN,
            test=(borders, logits(Session(load(floats)), borders).argmax(axis=-1)),
            accuracy_limit=5,
        )
    assert not (tmp_path / "a.onnx").exists()


def borderline(floats, image: np.ndarray) -> np.ndarray:
    """Find images within a thousandth of where the float file changes its class."""
    session = Session(load(floats))
    start = logits(session, image[None]).argmax(-1)[0]
    found = []
    for other in PATTERNS:
        low, high = 0.0, 4.0
        if logits(session, (image + high * other)[None]).argmax(-1)[0] == start:
            continue
        for _ in range(12):
            middle = (low + high) / 2
            same = logits(session, (image + middle * other)[None]).argmax(-1)[0] == start
            low, high = (middle, high) if same else (low, middle)
        found += [image + low * other, image + high * other]
    return np.stack(found).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"calibration": TRAIN[0].astype(np.float64)}, r"float32 images .* received float64"),
        ({"calibration": TRAIN[0][:, :4]}, r"of shape \(count, 8, 8, 3\); received .*160, 4, 8, 3"),
        ({"calibration": TRAIN[0] * np.float32("inf")}, "accepted are finite images"),
        ({"calibration": TRAIN[0][:20]}, "at least 32 images, .* received 20"),
        ({"calibration": (TRAIN[0], TRAIN[1][:3])}, "one whole number for each of the 160 images"),
        ({"calibration": (TRAIN[0], TRAIN[1] + 1)}, "classes from 0 to 3; received 1 to 4"),
        ({"calibration": (TRAIN[0], TRAIN[1] % 3)}, "class 0 has 80 images and class 3 has 0"),
        ({"test": (TEST[0][:, :4], TEST[1])}, "test: accepted are float32 images of shape"),
        ({"precision": "int4"}, "precision: .*int8.*; received 'int4'"),
        ({"accuracy_limit": -1}, "accuracy_limit: accepted are 0 to 100; received -1"),
        ({"cpu": "z80"}, "cpu: accepted: arm, x86, x86-vnni; received 'z80'"),
        ({"calibrators": ["guess"]}, "accepted are minmax, percentile, entropy; received guess"),
        ({"calibrators": []}, "received none"),
        ({"keep_float": ["stem*"]}, r"no layer is named 'stem\*'; the layers: .*conv/Conv"),
        ({"calibrating_images": 0}, "calibrating_images: accepted is a whole number above 0"),
    ],
)
def test_bad_input_is_one_line(floats, tmp_path, change, told):
    options = {"calibration": TRAIN, **change}
    with pytest.raises(zoo.InputError, match=told) as refused:
        export.quantize(floats, tmp_path / "a.onnx", **options)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_quantized_once(made, floats, tmp_path):
    with pytest.raises(zoo.InputError, match="received one that was quantized already"):
        export.quantize(made.path, tmp_path / "a.onnx", calibration=TRAIN)
    with pytest.raises(zoo.InputError, match="accepted is another file name"):
        export.quantize(floats, floats, calibration=TRAIN)


def test_a_file_of_fewer_bits_is_validated_by_its_accuracy(made, floats, tmp_path):
    keras.utils.set_random_seed(0)
    model = make_model()
    verdict = export.validate(model, made.path, data=TEST)
    assert verdict.ok, verdict.why()
    (lost,) = [check for check in verdict.checks if check.name.startswith("accuracy lost")]
    assert lost.limit == 5
    assert export.validate(model, made.path).ok
    # Another model of the same form is none of its float file's.
    for layer in model.layers:
        layer.set_weights([np.flip(weight) for weight in layer.get_weights()])
    failed = {check.name for check in export.validate(model, made.path, data=TEST).failed}
    assert "logit error on random inputs" in failed


def test_damaged_facts_are_told(made, tmp_path):
    proto = load(made.path)
    for entry in proto.metadata_props:
        if entry.key.endswith("quantization"):
            entry.value = '{"precision": "int8"}'
    path = tmp_path / "damaged.onnx"
    onnx.save(proto, path)
    with pytest.raises(zoo.InputError, match=r"quantization is damaged: accepted are a precision"):
        export.read_metadata(path)
