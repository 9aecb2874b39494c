"""Targets with a form of their own beside the ONNX file: it computes what the file does."""

import dataclasses
import importlib.util
import shutil
import sys

import keras
import numpy as np
import pytest

import export
from export import bundle_checks, manifest, onnx_metadata
from export.onnx_runtime import Session
from export.targets import TARGETS, litert
from export.targets.layout import Exported
from zoo.cli import run
from zoo.files import sha256

from .served import SHAPE, tiny_model
from .target_packages import skip_without_packages

FORMS = [name for name, target in TARGETS.items() if target.load is not None]
REPEATABLE = ["openvino", "litert"]


def of_several_tensors() -> keras.Model:
    left, right = keras.Input((3,), name="left"), keras.Input((None, 2), name="right")
    mean = keras.layers.GlobalAveragePooling1D(name="mean")(right)
    both = keras.layers.Concatenate(name="both")([left, mean])
    # Not in the order of their names, and one is the other's part.
    outputs = {"b": keras.layers.Dense(2, name="a")(both), "a": keras.layers.ReLU(name="b")(both)}
    return keras.Model([left, right], outputs, name="two")


MODELS = {"image": (lambda: tiny_model(3), [SHAPE]), "two": (of_several_tensors, [(3,), (4, 2)])}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Bundles by target and model, made once each."""
    folder, found = tmp_path_factory.mktemp("made"), {}

    def bundle(target, model):
        skip_without_packages(target)
        if (target, model) not in found:
            keras.utils.set_random_seed(1)
            out = folder / f"{target}-{model}"
            found[target, model] = export.bundle(MODELS[model][0](), out, target=target)
        return found[target, model]

    return bundle


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("target", FORMS)
def test_it_has_the_files_names_and_computes_what_the_file_does(made, target, model):
    bundle = made(target, model)
    session = Session(onnx_metadata.load(bundle / "model.onnx"))
    name = manifest.read(bundle).values["model"]["name"]
    compute = TARGETS[target].load(bundle, name, session.inputs, session.outputs)
    random = np.random.default_rng(0)
    for batch in (1, 5, 2):
        shapes = [(batch, *shape) for shape in MODELS[model][1]]
        inputs = [random.standard_normal(shape).astype(np.float32) for shape in shapes]
        for found, wanted in zip(compute(inputs), session.run(inputs), strict=True):
            np.testing.assert_allclose(found, wanted, atol=2e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("target", FORMS)
def test_its_bundle_is_judged_with_it(made, target):
    verdict = export.validate_bundle(made(target, "two"))
    assert verdict.ok, verdict.why()
    assert {"the target's own form, batch 64"} <= {check.name for check in verdict.checks}


@pytest.mark.parametrize("target", REPEATABLE)
@pytest.mark.parametrize("model", MODELS)
def test_the_same_model_makes_the_same_bytes(target, model, tmp_path):
    skip_without_packages(target)
    found = []
    for again in ("first", "second"):
        keras.utils.set_random_seed(1)
        folded = export.fold(MODELS[model][0]()).model
        folder = tmp_path / again
        folder.mkdir()
        (folder / "file").touch()
        one = Exported("m", folder / "file", folded, [], (), None)
        TARGETS[target].lay_out(one, folder)
        found.append({path: sha256(folder / path) for path in manifest.held(folder)})
        keras.Sequential([keras.layers.Dense(1)])  # which Keras counts
    assert found[0] == found[1]


@pytest.mark.parametrize("target", FORMS)
def test_a_form_that_computes_something_else_makes_no_bundle(tmp_path, monkeypatch, target):
    skip_without_packages(target)

    def load(folder, name, inputs, outputs):
        return lambda arrays: [np.zeros((len(arrays[0]), 3), np.float32)]

    wrong = dataclasses.replace(TARGETS[target], load=load)
    monkeypatch.setitem(TARGETS, target, wrong)
    with pytest.raises(export.ExportError, match="the target's own form, batch 1: measured"):
        export.bundle(tiny_model(3), tmp_path / "b", target=target)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", FORMS)
def test_a_changed_or_missing_file_is_found_and_nothing_is_loaded(made, tmp_path, target):
    changed = shutil.copytree(made(target, "image"), tmp_path / "b")
    told = manifest.read(changed)
    name = told.values["model"]["name"]
    (file,) = [one.name for one in TARGETS[target].check(changed, name)][:1]
    (changed / file).write_bytes(b"no model")
    found = bundle_checks._runtime(changed, TARGETS[target], told)
    assert [check.detail for check in found] == [f"{file} is not the one that the manifest names"]
    (changed / file).unlink()
    assert file in {check.name for check in TARGETS[target].check(changed, name) if not check.ok}


@pytest.mark.parametrize("target", FORMS)
@pytest.mark.parametrize("name", ["other", "tiny/1", "."])
def test_a_manifest_that_names_another_model_is_found(made, tmp_path, target, name):
    changed = shutil.copytree(made(target, "image"), tmp_path / "b")
    told = manifest.read(changed)
    told.values["model"]["name"] = name
    found = bundle_checks._runtime(changed, TARGETS[target], told)
    assert [(check.name, check.ok) for check in found] == [("the target's own form", False)]
    assert found[0].detail.startswith(f"the manifest does not name {name}/")


@pytest.mark.parametrize("target", FORMS)
def test_what_the_manifest_does_not_name_is_not_loaded(made, tmp_path, target):
    changed = shutil.copytree(made(target, "image"), tmp_path / "b")
    told = manifest.read(changed)
    shutil.copytree(changed / told.values["model"]["name"], changed / "other")
    told.values["model"]["name"] = "other"
    found = bundle_checks._runtime(changed, TARGETS[target], told)
    assert [check.ok for check in found] == [False]


@pytest.mark.parametrize("target", [name for name in FORMS if TARGETS[name].packages])
def test_without_its_package_a_line_says_how_to_install_it(tmp_path, monkeypatch, capsys, target):
    bundle = export.bundle(tiny_model(3), tmp_path / "bundle", target="tfserving")
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"target": "tfserving"', f'"target": "{target}"'))
    found = importlib.util.find_spec

    def lacking(name, package=None):
        return None if name in TARGETS[target].packages else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", lacking)
    export_it = ["export", "resnet20.digits", "--target", target, "--out", str(tmp_path / "out")]
    for argv in (export_it, ["validate", str(bundle)]):
        assert run(argv) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"pip install 'foldzoo[{TARGETS[target].packages[0]}]' installs it" in line
    assert not (tmp_path / "out").exists()


@keras.saving.register_keras_serializable("tests")
class Bessel(keras.layers.Layer):
    """An operation of TensorFlow that others do not have."""

    def call(self, inputs):
        import tensorflow as tf

        return tf.math.special.bessel_j0(inputs)


@pytest.mark.parametrize("target", REPEATABLE)
def test_what_the_converter_does_not_know_is_told_in_one_line(target, tmp_path):
    skip_without_packages(target)
    image = keras.Input(SHAPE, name="image")
    model = keras.Model(image, Bessel(name="odd")(image), name="strange")
    (tmp_path / "file").touch()
    one = Exported("m", tmp_path / "file", model, [], (), None)
    refused = pytest.raises(
        export.ExportError, match=f"^strange: Keras cannot export it to {target}"
    )
    with refused as raised:
        TARGETS[target].lay_out(one, tmp_path)
    assert "\n" not in str(raised.value)


def test_tensorflows_interpreter_and_litert_s_own_answer_alike(made):
    """Where both are installed; TensorFlow's is always."""
    pytest.importorskip("ai_edge_litert", reason="pip install ai-edge-litert installs LiteRT's own")
    path = str(made("litert", "image") / "tiny" / litert.LITERT_FILE)
    image = np.random.default_rng(0).standard_normal((3, *SHAPE)).astype(np.float32)
    found = [
        make(model_path=path).get_signature_runner()(image=image)["logits"]
        for make in (litert._interpreter(), litert._tensorflows)
    ]
    np.testing.assert_allclose(*found, atol=2e-6 * np.abs(found[0]).max())


def test_litert_runs_without_its_own_package(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.delitem(sys.modules, "ai_edge_litert.interpreter", raising=False)
    assert litert._interpreter() is litert._tensorflows
    verdict = export.validate_bundle(made("litert", "image"))
    assert verdict.ok, verdict.why()
