"""What each target lays out, and what a changed bundle is told of."""

import json
import shutil

import keras
import numpy as np
import pytest

import export
import zoo
from export import manifest, sample_request
from export.bundle_checks import validate_bundle
from export.remote import tensors
from export.targets import TARGETS, kserve, layout, triton, triton_config
from zoo.files import sha256

from .served import with_card
from .target_packages import lacks, skip_without_packages

LABELS = ("ant", "bee", "Ünze | 3")
SHAPE = (4, 4, 3)


def tiny_model() -> keras.Model:
    image = keras.Input(SHAPE, name="image")
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(3, name="logits")(x), name="tiny")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("trained")
    return with_card(tiny_model(), folder, LABELS)


@pytest.fixture(scope="module")
def bundles(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    targets = [name for name in TARGETS if not lacks(name)]
    return {name: export.bundle(trained, folder / name, target=name) for name in targets}


@pytest.fixture
def bundle(bundles, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(bundles["triton"], tmp_path / "bundle")


@pytest.mark.parametrize("target", TARGETS)
def test_a_bundle_passes_as_it_is(bundles, target):
    skip_without_packages(target)
    verdict = validate_bundle(bundles[target])
    assert verdict.ok, verdict.why()


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_a_bundle_replaces_that_of_another_target(bundles, trained, tmp_path, target):
    skip_without_packages(target)
    out = shutil.copytree(bundles["triton"], tmp_path / "b")
    export.bundle(trained, out, target=target)
    assert manifest.held(out) == manifest.held(bundles[target])


def test_a_model_repository_is_what_triton_reads(bundles):
    model = bundles["triton"] / "tiny.test"
    assert {path.name for path in bundles["triton"].iterdir() if path.is_dir()} == {"tiny.test"}
    assert (model / "labels.txt").read_text("utf-8").splitlines() == [*LABELS]
    config = triton_config.read(model / "config.pbtxt")
    assert config.name == "tiny.test"
    assert [one.name for one in config.output] == ["logits", "probabilities"]
    assert {one.label_filename for one in config.output} == {"labels.txt"}
    assert [*config.input[0].dims] == [*SHAPE]
    assert [one.batch_size for one in config.model_warmup] == [1, config.max_batch_size]
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds == 0  # nobody waits for others


def test_equal_models_make_equal_repositories(bundles):
    for name in ("config.pbtxt", "labels.txt", "1/model.onnx"):
        files = [bundles[target] / "tiny.test" / name for target in ("triton", "kserve")]
        assert sha256(files[0]) == sha256(files[1])


def test_every_changed_byte_is_found(bundle):
    """One bit in the first, a middle and the last byte of each file."""
    for name in manifest.held(bundle):
        path = bundle / name
        content = path.read_bytes()
        for place in {0, len(content) // 2, len(content) - 1}:
            changed = bytearray(content)
            changed[place] ^= 1
            path.write_bytes(changed)
            try:
                checks = manifest.check(bundle, manifest.read(bundle))
            except zoo.InputError:
                assert name == "manifest.json"  # it is none any more
            else:
                assert not all(check.ok for check in checks), (name, place)
        path.write_bytes(content)
    assert all(check.ok for check in manifest.check(bundle, manifest.read(bundle)))


def test_every_missing_file_is_found(bundle):
    for name in manifest.held(bundle):
        path = bundle / name
        aside = path.rename(bundle.parent / "aside")
        if name == "manifest.json":
            with pytest.raises(zoo.InputError, match="it has no manifest"):
                validate_bundle(bundle)
        else:
            verdict = manifest.check(bundle, manifest.read(bundle))
            assert [check.detail for check in verdict if not check.ok] == [name]
        aside.rename(path)


@pytest.mark.parametrize("extra", ["notes.txt", "tiny.test/2/model.onnx", "link"])
def test_every_extra_file_is_found(bundle, extra):
    path = bundle / extra
    if extra == "link":
        path.symlink_to(bundle / "client.py")
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    failed = [check for check in manifest.check(bundle, manifest.read(bundle)) if not check.ok]
    assert [check.detail for check in failed] == [extra]


def test_what_is_changed_is_not_loaded(bundle):
    (bundle / "folded.keras").write_bytes(b"PK")
    failed = {check.name: check.detail for check in validate_bundle(bundle).failed}
    assert failed["parity with Keras"] == "folded.keras is not the one that the manifest names"


def test_a_bundle_that_lacks_its_model_is_told_so(bundle):
    shutil.rmtree(bundle / "tiny.test")
    verdict = validate_bundle(bundle)
    assert not verdict.ok
    assert "tiny.test/1/model.onnx" in {check.name for check in verdict.failed}


def reseal(bundle) -> None:
    """Write the manifest anew, as one would who wants to hide a change."""
    values = json.loads((bundle / "manifest.json").read_text())
    keys = ("name", "target", "precision", "created", "model", "source", "versions", "tolerances")
    (bundle / "manifest.json").unlink()
    manifest.write(bundle, **{key: values[key] for key in keys})


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ('name: "tiny.test"', 'name: "tiny"', "name of the model and its folder"),
        ("TYPE_FP32", "TYPE_FP64", "inputs of config.pbtxt and of the file"),
        ("dims: [4, 4, 3]", "dims: [4, 4, 1]", "inputs of config.pbtxt and of the file"),
        ('name: "image"', 'name: "picture"', "inputs of config.pbtxt and of the file"),
        ('name: "logits"', 'name: "scores"', "outputs of config.pbtxt and of the file"),
        ("dynamic_batching {", "dynamic_batching {\n preferred_batch_size: 65", "batch sizes"),
        ("dynamic_batching {\n}", "", "dynamic_batching"),
        ("max_batch_size: 64", "max_batch_size: 0", "max_batch_size"),
        ("max_batch_size: 64", "max_batch_size: 32", "warm-ups that the file does not take"),
        ("num_versions: 1", "num_versions: 0", "latest versions served"),
        ("KIND_CPU", "KIND_GPU", "instance groups"),
        ("count: 1", "count: 0", "instances of each group"),
        ('backend: "onnxruntime"', 'backend: "tensorrt"', "backend"),
        ('"onnxruntime_onnx"', '"pytorch_libtorch"', "platform"),
        ('label_filename: "labels.txt"', "", "outputs with labels"),
        ('"labels.txt"', '"../labels.txt"', "../labels.txt and the labels in the file"),
        ('key: "image"', 'key: "other"', "warm-ups that the file does not take"),
        (
            "foldzoo.labels",
            "foldzoo.names",
            "parameters of config.pbtxt that are not as in the file",
        ),
        ("dynamic_batching", "nonsense", "config.pbtxt"),
        ("KIND_CPU", "KIND_TPU", "config.pbtxt"),
    ],
)
def test_a_config_edited_into_nonsense_is_found(bundle, before, after, found):
    path = bundle / "tiny.test" / "config.pbtxt"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    reseal(bundle)
    failed = [check.name for check in triton.check(bundle, "tiny.test") if not check.ok]
    assert any(name.endswith(found) for name in failed), failed


@pytest.fixture(scope="module")
def several(trained, tmp_path_factory):
    return export.bundle(
        trained, tmp_path_factory.mktemp("several") / "bundle", target="triton", instances=2
    )


def test_several_instances_compute_with_one_thread_each(several):
    config = triton_config.read(several / "tiny.test" / "config.pbtxt")
    assert [group.count for group in config.instance_group] == [2]
    threads = [one.value.string_value for one in config.parameters if one.key == triton.THREADS]
    assert threads == ["1"]
    verdict = validate_bundle(several)
    assert verdict.ok, verdict.why()


@pytest.mark.parametrize("threads", ["0", "-1", "all", ""])
def test_a_number_of_threads_that_is_none_is_found(several, tmp_path, threads):
    spoilt = shutil.copytree(several, tmp_path / "bundle")
    path = spoilt / "tiny.test" / "config.pbtxt"
    before = 'string_value: "1"'
    assert path.read_text().count(before) == 1
    path.write_text(path.read_text().replace(before, f'string_value: "{threads}"'))
    failed = [check.name for check in triton.check(spoilt, "tiny.test") if not check.ok]
    assert failed == ["config.pbtxt: threads of an instance"]


@pytest.mark.parametrize(("target", "instances"), [("onnx", 2), ("triton", 0), ("triton", 257)])
def test_instances_that_a_target_cannot_have_are_refused(trained, tmp_path, target, instances):
    with pytest.raises(
        zoo.InputError, match=f"instances: .* received {instances} for target {target}"
    ):
        export.bundle(trained, tmp_path / "out", target=target, instances=instances)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("labels", ["ant\nbee\n", "bee\nant\nÜnze | 3\n", "ant\nbee\ncat\nÜnze\n"])
def test_labels_that_are_not_the_files_are_found(bundle, labels):
    (bundle / "tiny.test" / "labels.txt").write_text(labels, "utf-8")
    failed = [check.name for check in triton.check(bundle, "tiny.test") if not check.ok]
    assert failed == ["version 1: labels.txt and the labels in the file"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda model: (model / "1").rename(model / "01"), "also tiny.test/01"),
        (lambda model: (model / "1").rename(model / "v1"), "also tiny.test/v1"),
        (lambda model: (model / "1" / "model.onnx").rename(model / "m.onnx"), "no model.onnx in"),
        (lambda model: (model / "2").mkdir(), "no model.onnx in tiny.test/2"),
        (lambda model: (model.parent / "other").mkdir(), "also other"),
    ],
)
def test_folders_that_triton_would_not_serve_are_found(bundle, change, found):
    change(bundle / "tiny.test")
    failed = {check.name: check.measured for check in triton.check(bundle, "tiny.test")}
    assert found in failed["folders of the model repository"]


def test_a_wrong_expected_answer_is_found(bundle):
    path = bundle / "sample_response.json"
    values = json.loads(path.read_text())
    values["outputs"][0]["data"][0] += 0.1
    path.write_text(json.dumps(values))
    reseal(bundle)
    assert [c.name for c in validate_bundle(bundle).failed] == ["answer to the sample request"]


@pytest.mark.parametrize("content", ["[]", "{}", '{"inputs": [{"name": 3}]}', "\xff", "["])
def test_a_damaged_sample_request_is_told(bundle, content):
    (bundle / "sample_request.json").write_bytes(content.encode("latin-1"))
    checks = sample_request.check(bundle, "tiny.test/1/model.onnx", 1.0)
    assert [(check.name, check.ok) for check in checks] == [("sample request", False)]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": "foldzoo.manifest/1"}', "\xff", "[" * 100_000]
)
def test_what_is_no_manifest_is_bad_input(bundle, content):
    (bundle / "manifest.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(zoo.InputError, match="is not the manifest of a bundle"):
        validate_bundle(bundle)


@pytest.mark.parametrize(
    "extra", ['"tolerances": {"verdict": NaN}', '"x": [-Infinity]', '"x": 1e999']
)
def test_a_manifest_of_what_is_no_json_is_bad_input(bundle, extra):
    path = bundle / "manifest.json"
    path.write_text(path.read_text().rstrip().removesuffix("}") + f", {extra}}}")
    with pytest.raises(zoo.InputError, match="is not the manifest of a bundle"):
        validate_bundle(bundle)


@pytest.mark.parametrize("path", ["../model.keras", "/etc/passwd", ""])
def test_a_manifest_cannot_name_what_is_outside(bundle, path):
    values = json.loads((bundle / "manifest.json").read_text())
    values["model"]["file"] = path
    (bundle / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(zoo.InputError, match="is no path inside a bundle"):
        validate_bundle(bundle)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path):
    for path, told in ((tmp_path, "has no manifest"), (tmp_path / "no", "does not exist")):
        with pytest.raises(zoo.InputError, match=told):
            validate_bundle(path)


def test_names_become_those_of_folders_and_services():
    assert layout.served_name("resnet20.digits") == "resnet20.digits"
    assert layout.served_name("../my model/ü") == "_my_model__"
    assert layout.served_name("...") == "model"
    assert kserve.service_name("ResNet_20.digits") == "resnet-20-digits"
    assert kserve.service_name("ü") == "model"
    assert kserve.service_name("123") == "model-123"  # KServe wants a letter first
    assert len(kserve.service_name("x" * 99)) == len(kserve.service_name("1" * 99)) == 63


@pytest.mark.parametrize("name", ["true", "null", "no", "1e5", "resnet20.digits"])
def test_the_kserve_manifest_has_a_text_for_a_name(name):
    text = kserve._text(name)
    assert f'  name: "{kserve.service_name(name)}"\n' in text


def test_the_kserve_manifest_names_the_model(bundles, tmp_path):
    text = (bundles["kserve"] / "inferenceservice.yaml").read_text()
    assert 'name: "tiny-test"' in text
    assert "protocolVersion: v2" in text
    changed = shutil.copytree(bundles["kserve"], tmp_path / "b")
    (changed / "inferenceservice.yaml").write_text(text.replace("v2", "v1"))
    assert [c.name for c in kserve.check(changed, "tiny.test") if not c.ok] == [
        "inferenceservice.yaml"
    ]


def test_a_model_of_several_tensors_and_no_labels_is_laid_out(tmp_path):
    left, right = keras.Input((3,), name="left"), keras.Input((None, 2), name="right")
    mean = keras.layers.GlobalAveragePooling1D(name="mean")(right)
    both = keras.layers.Concatenate(name="both")([left, mean])
    outputs = {"a": keras.layers.Dense(2, name="a")(both), "b": keras.layers.ReLU(name="b")(both)}
    model = keras.Model([left, right], outputs, name="two")
    out = export.bundle(model, tmp_path / "b", target="triton")
    config = triton_config.read(out / "two" / "config.pbtxt")
    assert [(one.name, [*one.dims]) for one in config.input] == [("left", [3]), ("right", [-1, 2])]
    assert not (out / "two" / "labels.txt").exists()
    verdict = validate_bundle(out)
    assert verdict.ok, verdict.why()


def test_the_sample_is_answered_to_the_last_bit(bundles):
    """Written in the fewest digits, read back as the same float32."""
    image = np.random.default_rng(0).standard_normal((1, *SHAPE)).astype(np.float32)
    written = json.loads(json.dumps(tensors.to_json("image", image)))
    assert (tensors.from_json(written) == image).all()
    checks = sample_request.check(bundles["triton"], "tiny.test/1/model.onnx", 0.0)
    assert [check.ok for check in checks] == [True]
