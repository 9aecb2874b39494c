"""The bundle: all of it or nothing, and what it says of itself is what it holds."""

import base64
import io
import json
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest

import export
import zoo
from export.bundle_folder import FILES, LAST_FILES, RESERVED
from export.checks import Check, Verdict
from export.errors import ExportError
from export.latency import measure
from export.prediction import Classifier, classifier
from export.report import FORMAT
from export.sources import Source, source
from export.targets import TARGETS, Target
from zoo import keras_files
from zoo.files import sha256

from .target_packages import skip_without_packages

LABELS = ("ant", "bee", "cat")
PREPROCESSING = zoo.Preprocessing(size=(8, 8), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
TRUTH = np.arange(12) % 3
DATA = (PREPROCESSING(IMAGES), TRUTH)


def make_model(classes: int = 3, filters: int = 8):
    import keras

    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(filters, 3, use_bias=False, name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU(name="act")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, keras.layers.Dense(classes, name="logits")(x), name="tiny")
    generator = np.random.default_rng(1)
    for weight in model.get_layer("norm").weights:
        weight.assign(generator.uniform(0.5, 1.5, weight.shape))
    return model


def make_card(path: Path, **changes) -> zoo.Card:
    values = {
        "name": "tiny.test",
        "arch": "tiny",
        "input_shape": (8, 8, 3),
        "num_classes": 3,
        "norm": zoo.Norm(),
        "dropout": 0.0,
        "width": 1.0,
        "preprocessing": PREPROCESSING,
        "labels": LABELS,
        "dataset": "noise",
        "precision": "float32",
        "metrics": {},
        "recipe": {},
        "sha256": sha256(path),
        "versions": {},
    }
    return zoo.Card(**{**values, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder as training leaves it."""
    folder = tmp_path_factory.mktemp("trained")
    path = keras_files.save(make_model(), folder / "model.keras")
    make_card(path).write(folder / "card.json")
    (folder / "history.csv").write_text("epoch,loss,val_accuracy\n1,2.5,\n2,1.5,0.75\n")
    return path


@pytest.fixture(scope="module")
def bundled(trained, tmp_path_factory) -> Path:
    return export.bundle(trained, tmp_path_factory.mktemp("out") / "bundle", data=DATA)


@pytest.fixture(scope="module")
def report(bundled) -> dict:
    return json.loads((bundled / "report.json").read_text())


def test_a_bundle_holds_the_files_that_it_speaks_of(bundled, report):
    assert {path.name for path in bundled.iterdir()} == {*FILES, *LAST_FILES}
    assert [file["name"] for file in report["files"]] == ["model.onnx", "folded.keras"]
    for file in report["files"]:
        assert file["sha256"] == sha256(bundled / file["name"])
        assert file["bytes"] == (bundled / file["name"]).stat().st_size


def test_the_report_tells_of_every_stage(report):
    assert report["ok"]
    assert report["name"] == "tiny.test"
    assert (report["fold"]["folded"], report["fold"]["kept"]) == (1, 0)
    assert report["accuracy"]["images"] == 12
    assert report["accuracy"]["trained"] == report["accuracy"]["onnx"]
    assert 0 <= report["differences"]["float64"] <= 1e-12  # the design's limit
    assert 0 < report["differences"]["onnx"] <= report["differences"]["onnx_limit"] < 1e-5
    assert report["latency"]["median_ms"] > 0
    assert report["history"] == [
        {"epoch": 1.0, "loss": 2.5},
        {"epoch": 2.0, "loss": 1.5, "val_accuracy": 0.75},
    ]
    assert list(report["seconds"]) == [
        "load",
        "fold",
        "certify",
        "export",
        "validate",
        "measure latency",
        "compare accuracy",
    ]


def test_the_images_shown_are_the_ones_that_were_passed(report):
    shown = report["samples"][0]["image"].removeprefix("data:image/png;base64,")
    pixels = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(shown))))
    assert any(np.array_equal(pixels, image) for image in IMAGES)


def test_the_file_carries_the_cards_preprocessing_and_labels(bundled, trained, tmp_path):
    image = tmp_path / "image.png"
    PIL.Image.fromarray(IMAGES[0]).save(image)
    ours, theirs = classifier(bundled / "model.onnx"), classifier(trained)
    assert ours.preprocessing == theirs.preprocessing == PREPROCESSING
    assert ours.labels == theirs.labels == LABELS
    for (label, share), (other, other_share) in zip(
        ours.top(image), theirs.top(image), strict=True
    ):
        assert label == other
        assert share == pytest.approx(other_share, abs=1e-5)  # float32 logits of about 1


def test_stages_are_told_as_they_begin_and_end(tmp_path):
    told = []
    export.bundle(make_model(), tmp_path / "b", progress=lambda *stage: told.append(stage))
    begun = [stage for stage, seconds in told if seconds is None]
    ended = [stage for stage, seconds in told if seconds is not None]
    assert begun == ended
    assert begun[0] == "load"


def test_a_model_without_a_card_is_bundled_too(tmp_path):
    folder = export.bundle(make_model(), tmp_path / "b", data=DATA)
    report = json.loads((folder / "report.json").read_text())
    assert report["card"] is None
    assert report["samples"][0]["label"] in ("0", "1", "2")


def test_an_older_bundle_is_replaced_and_anything_else_is_not(tmp_path):
    out = tmp_path / "b"
    out.mkdir()
    export.bundle(make_model(), out)
    first = sha256(out / "report.json")
    export.bundle(make_model(), out)
    assert sha256(out / "report.json") != first
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(zoo.InputError, match=r"thesis\.txt"):
        export.bundle(make_model(), out)
    assert (out / "thesis.txt").read_text() == "mine"


def test_a_failed_check_leaves_the_older_bundle_and_nothing_else(tmp_path, monkeypatch):
    out = export.bundle(make_model(), tmp_path / "b")
    before = {path.name: sha256(path) for path in out.iterdir()}
    bad = Verdict((Check("random inputs, batch 7", False, 0.5, 1e-6), Check("opset", True, 17, 17)))
    monkeypatch.setattr("export.validation.validate", lambda *_args, **_options: bad)
    with pytest.raises(ExportError, match=r"random inputs, batch 7: measured 0\.5") as raised:
        export.bundle(make_model(), out)
    assert raised.value.failed == bad.failed
    assert {path.name: sha256(path) for path in out.iterdir()} == before
    assert list(tmp_path.iterdir()) == [out]


def test_a_verdict_without_checks_is_no_pass(tmp_path, monkeypatch):
    monkeypatch.setattr("export.validation.validate", lambda *_args, **_options: Verdict(()))
    with pytest.raises(ExportError):
        export.bundle(make_model(), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_target_is_one_entry(tmp_path, monkeypatch):
    def nested(made, folder):
        (folder / "1").mkdir()
        made.onnx.replace(folder / "1" / "model.onnx")

    target = Target(nested, lambda name: "1/model.onnx", lambda folder, name: [])
    monkeypatch.setitem(TARGETS, "nested", target)
    out = export.bundle(make_model(), tmp_path / "b", target="nested")
    report = json.loads((out / "report.json").read_text())
    assert [file["name"] for file in report["files"]] == ["1/model.onnx", "folded.keras"]
    assert export.validate_bundle(out).ok
    export.bundle(make_model(), out)  # the report says which files are its own
    assert not (out / "1").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "toaster"}, "unknown target 'toaster'; accepted: onnx"),
        ({"precision": "fp7"}, "unknown precision 'fp7'; accepted: fp32, fp16, int8"),
    ],
)
def test_unknown_options_name_what_is_accepted(tmp_path, options, words):
    with pytest.raises(zoo.InputError, match=words):
        export.bundle(make_model(), tmp_path / "b", **options)


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "onnx"])
@pytest.mark.parametrize("name", ["folded.keras", "client.py", "Model.onnx", "report.json"])
def test_a_name_of_a_bundles_own_files_is_refused_before_the_work(tmp_path, target, name):
    skip_without_packages(target)
    told = []
    given = Source(name, make_model())
    with pytest.raises(zoo.InputError, match=f"the model's name: .*; received {name};"):
        export.bundle(given, tmp_path / "b", target=target, progress=lambda *s: told.append(s))
    assert {stage for stage, _ in told} == {"load"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["onnx", "triton"])
def test_every_other_name_is_a_folders(tmp_path, target):
    """A bundle's top has no file but those; what lies in the model's folder may have its name."""
    name = "labels.txt" if target == "triton" else "folded.keras"
    out = export.bundle(Source(name, make_model()), tmp_path / "b", target=target)
    assert {path.name for path in out.iterdir() if path.is_file()} <= RESERVED
    assert export.validate_bundle(out).ok


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"calibration_images": -600}, "calibration_images: accepted is a whole .*; received -600"),
        ({"accuracy_limit": float("nan")}, "accuracy_limit: accepted are 0 to 100; received nan"),
    ],
)
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_numbers_of_a_quantization_are_refused_before_the_work(
    tmp_path, trained, precision, options, words
):
    told = []
    options |= {"precision": precision, "progress": lambda *stage: told.append(stage)}
    with pytest.raises(zoo.InputError, match=words):
        export.bundle(trained, tmp_path / "b", calibration=DATA, **options)
    assert told == []


@pytest.mark.parametrize("why", ["batch", "backend"])
def test_what_no_file_can_be_made_of_is_told_before_the_work(tmp_path, monkeypatch, why):
    image = keras.Input((8, 8, 3), batch_size=4 if why == "batch" else None)
    model = keras.Model(image, keras.layers.Flatten()(image))
    if why == "backend":
        monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    told = []
    words = {"batch": "any number of images", "backend": "set the .* KERAS_BACKEND=tensorflow"}
    with pytest.raises(zoo.InputError, match=words[why]):
        export.bundle(model, tmp_path / "b", progress=lambda *stage: told.append(stage))
    assert {stage for stage, _ in told} == {"load"}


def test_a_file_in_the_way_is_told_before_the_work(tmp_path, trained):
    (tmp_path / "b").write_text("mine")
    told = []
    with pytest.raises(zoo.InputError, match="a file of that name is in the way"):
        export.bundle(trained, tmp_path / "b", progress=lambda *stage: told.append(stage))
    assert told == []


def test_a_source_is_a_name_a_file_or_a_model(trained, monkeypatch):
    folder = trained.parent.parent / "models" / "tiny.test"
    folder.mkdir(parents=True)
    for name in ("model.keras", "card.json"):
        (folder / name).write_bytes((trained.parent / name).read_bytes())
    monkeypatch.setenv("FOLDZOO_MODELS", str(folder.parent))
    assert source("tiny.test").name == source(trained).name == "tiny.test"
    model = make_model()
    assert source(model).model is model
    assert source(source(model)).name == "tiny"
    with pytest.raises(zoo.InputError, match=r"no weights named 'tiny\.tset'; did you mean"):
        source("tiny.tset")


def test_a_card_speaks_only_of_its_own_model(tmp_path):
    path = keras_files.save(make_model(), tmp_path / "model.keras")
    make_card(path, sha256="0" * 64).write(tmp_path / "card.json")
    with pytest.raises(zoo.InputError, match="not the file that its card speaks of"):
        source(path)
    make_card(path).write(tmp_path / "card.json")
    other = keras_files.save(make_model(classes=5), tmp_path / "other.keras")
    assert source(other).labels == ()
    with pytest.raises(zoo.InputError, match="preprocessing is not known"):
        _ = source(other).preprocessing


def test_a_file_beside_another_models_card_is_only_fed_and_read_alike(tmp_path, trained):
    for name in ("card.json", "history.csv"):
        (tmp_path / name).write_bytes((trained.parent / name).read_bytes())
    other = keras_files.save(make_model(filters=4), tmp_path / "other.keras")
    found = source(other)
    assert (found.name, found.card, found.history()) == ("other", None, [])
    assert (found.preprocessing, found.labels) == (PREPROCESSING, LABELS)
    report = json.loads((export.bundle(other, tmp_path / "b") / "report.json").read_text())
    assert (report["name"], report["card"], report["history"]) == ("other", None, [])
    assert export.read_metadata(tmp_path / "b" / "model.onnx")["labels"] == list(LABELS)


def test_a_card_whose_shapes_are_not_its_files_is_refused(tmp_path):
    path = keras_files.save(make_model(classes=5), tmp_path / "model.keras")
    make_card(path).write(tmp_path / "card.json")
    with pytest.raises(zoo.InputError, match=r"gives 3 logits; it takes .* and gives \(5,\)"):
        source(path)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("epoch,loss\n1,2.5\n2,abc\n", "history.csv, line 3: loss: .* received 'abc'"),
        ("epoch,loss\n1,nan\n", "history.csv, line 2: loss: accepted is a finite number"),
        ("epoch,loss\n1\n", "history.csv, line 2: accepted are as many values"),
        ("epoch,loss\n1,2,3\n", "history.csv, line 2: accepted are as many values"),
        ("loss\n1\n", "history.csv, line 2: it has no value for epoch"),
        (b"\xff\xfe\0", "history.csv is not a history that can be read"),
    ],
)
def test_a_damaged_history_is_told_where_it_is_used(tmp_path, trained, table, told):
    for name in ("model.keras", "card.json"):
        (tmp_path / name).write_bytes((trained.parent / name).read_bytes())
    content = table if isinstance(table, bytes) else table.encode()
    (tmp_path / "history.csv").write_bytes(content)
    given = source(tmp_path / "model.keras")  # nothing of it is needed to fold or to predict
    assert given.card is not None
    with pytest.raises(zoo.InputError, match=told):
        given.history()
    with pytest.raises(zoo.InputError, match=told):
        export.bundle(given, tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("report", [{"format": FORMAT}, [], {"files": 3}, {"files": [1]}])
def test_a_report_of_another_form_makes_no_bundle(tmp_path, report):
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(zoo.InputError, match=r"report\.json, which is no part of a bundle"):
        export.bundle(make_model(), tmp_path)


@pytest.mark.parametrize(
    ("truth", "told"),
    [
        ([0, 1, 3], "classes from 0 to 2, one for each logit; received 0 to 3"),
        ([0, -1, 2], "received -1 to 2"),
        ([0.0, 1.0, 2.0], "one whole number for each .* received float64"),
        ([0, 1], r"of which there are 3; received int64 of shape \(2,\)"),
    ],
)
def test_labels_without_logits_are_refused_before_the_work(tmp_path, truth, told):
    seen = []
    with pytest.raises(zoo.InputError, match=told):
        export.bundle(
            make_model(),
            tmp_path / "b",
            data=(DATA[0][:3], np.array(truth)),
            progress=lambda *stage: seen.append(stage[0]),
        )
    assert seen == ["load"]


def test_logits_that_are_not_finite_are_no_answer(tmp_path):
    PIL.Image.fromarray(IMAGES[0]).save(tmp_path / "image.png")
    made = {"preprocessing": PREPROCESSING, "labels": LABELS, "takes": IMAGES.shape[1:]}
    broken = Classifier("broken", lambda x: np.full((len(x), 3), np.nan), **made)
    with pytest.raises(zoo.InputError, match=r"broken: its logits for .*image\.png are not finite"):
        broken.top(tmp_path / "image.png")


def test_latency_counts_its_calls(bundled):
    taken = measure(bundled / "model.onnx", [DATA[0][:2]], seconds=0.05, threads=1)
    assert (taken.batch, taken.threads) == (2, 1)
    assert taken.runs >= 3
    assert 0 < taken.median_ms <= taken.p95_ms
