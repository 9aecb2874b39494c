"""The documents say what the stored results say."""

import keras
import pytest

import zoo
from export.folding import Entry
from training.studies.recipe import StudyRecipe, list_studies

from ..zoo import test_official
from . import (
    applications,
    cost,
    exports,
    imports,
    latency,
    loader,
    nightly_table,
    normalization,
    official_costs,
    onnx_nodes,
    precision,
    quantization,
    recipe_heads,
    scaling,
    serving,
    tables,
    torch_exports,
    torch_training,
    whole_way,
    write_docs,
    zoo_results,
)
from .models import APPLICATIONS


@pytest.mark.parametrize("path", write_docs.DOCUMENTS, ids=lambda path: path.name)
def test_documents_are_as_written(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("<!-- written by") == text.count("<!-- end -->") > 0
    # To make them so: python -m tests.bench.write_docs
    assert write_docs.written(text) == text


@pytest.mark.parametrize("path", recipe_heads.paths(), ids=lambda path: path.stem)
def test_heads_of_recipes_are_as_written(path):
    # To make them so: python -m tests.bench.recipe_heads
    assert recipe_heads.written(path) == path.read_text(encoding="utf-8")


def test_every_table_stands_in_a_document():
    texts = [path.read_text(encoding="utf-8") for path in write_docs.DOCUMENTS]
    assert all(any(f": {name} -->" in text for text in texts) for name in write_docs.TABLES)


def test_no_action_of_the_report_lacks_a_column():
    actions = Entry.__dataclass_fields__["action"].type.__args__
    assert {*write_docs._ACTIONS, "kept"} == set(actions)


def test_all_of_keras_applications_is_exported():
    models = {name for name in dir(keras.applications) if name[0].isupper()}
    assert models == set(exports.MODELS)


@pytest.mark.parametrize(
    "name, rows",
    [
        ("applications", APPLICATIONS),
        ("certificates", APPLICATIONS),
        ("onnx_nodes", onnx_nodes.MODELS),
        ("latency", latency.MODELS),
        ("exports", exports.MODELS),
        ("whole_way", whole_way.AIMED),
        ("torch_exports", torch_exports.NETWORKS),
        ("precision", precision.VARIANTS),
        ("quantization", quantization.MODELS),
        ("torch_training", torch_training.PRECISIONS),
        ("cost", [cost.row_name(axis, value) for axis in cost.AXES for value in cost.AXES[axis]]),
        ("loader", loader.AUGMENTATIONS),
        ("serving", serving.MODELS),
        ("imports", imports.CALLS),
        ("zoo_results", zoo_results.WEIGHTS),
        ("official_costs", official_costs.WEIGHTS),
        ("scaling", [f"{order}, {n} times" for order in scaling.ORDERS for n in scaling.BLOCKS]),
    ],
)
def test_results_are_complete(name, rows):
    for results in tables.each(name):
        assert list(results["environment"]) == ["date", "processor", "threads", "versions"]
        assert set(results["rows"]) == set(rows)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_no_batchnorm_of_an_application_is_left(name):
    row = write_docs.stored("applications")["rows"][name]
    assert row["batchnorms"] == sum(row["actions"].values()) > 0
    assert row["kept"] == [] and row["left"]["BatchNormalization"] == 0
    certificate = write_docs.stored("certificates")["rows"][name]
    assert certificate["ok"], certificate["why"]


def test_times_and_memory_are_within_what_is_promised():
    rows = write_docs.stored("applications")["rows"]
    assert rows["ResNet50"]["fold_seconds"] < 2
    assert rows["EfficientNetB7"]["fold_seconds"] < 15


def test_importing_the_zoo_and_listing_are_as_cheap_as_promised():
    rows = write_docs.stored("imports")["rows"]
    assert rows["import zoo"]["seconds"] <= 1.05 * rows["import keras"]["seconds"]
    assert rows["zoo list"]["seconds"] < 1


def test_the_loader_is_at_least_twice_as_fast_as_the_training():
    rows = write_docs.stored("loader")["rows"]
    assert [name for name, row in rows.items() if row["ratio_low"] < 2] == []


@pytest.mark.parametrize("name", exports.MODELS)
def test_each_application_gets_a_file_that_passes(name):
    row = write_docs.stored("exports")["rows"][name]
    assert row["ok"], row["why"]
    assert row["kept"] == 0 and row["ours"]["refused"] == ""
    assert row["ours"]["nodes"]["Transpose"] == 1


@pytest.mark.parametrize("name", whole_way.AIMED)
def test_all_of_an_export_takes_no_longer_than_aimed_at(name):
    row = write_docs.stored("whole_way")["rows"][name]
    assert row["whole"] < whole_way.AIMED[name]


def test_no_model_failed_last_night():
    tests = nightly_table.read()["tests"]
    assert [name for name, case in tests.items() if case["outcome"] != "passed"] == []
    names = {name.rpartition("[")[2].rstrip("]") for name in tests}
    assert names == {*zoo.list_models(), *filter(test_official.is_large, test_official.NAMES)}


def test_int8_of_trained_weights_stays_within_its_limit():
    for results in tables.each("quantization"):
        for name in quantization.WEIGHTS:
            found = results["rows"][name]["accuracy"]
            assert found["reported"]["drop"] <= found["accuracy_limit"] == 0.5
            assert found["verdict"]["ok"]


def test_one_application_folds_as_the_results_say():
    """A small one is folded anew, so that results of an older folder are noticed."""
    row = write_docs.stored("applications")["rows"]["MobileNetV3Small"]
    assert applications.counts(applications.application("MobileNetV3Small")) == {
        key: row[key] for key in ("batchnorms", "actions", "kept", "left")
    }


@pytest.mark.parametrize("name", list_studies())
def test_stored_studies_are_those_of_their_recipes(name):
    """A rule or a grid that is changed after the results makes them results of another study."""
    assert name in normalization.NAMES
    report = normalization.stored(name)
    if report is None:
        pytest.skip(f"no stored results: zoo study {name} --out docs/studies/{name}")
    assert report.made["recipe"] == StudyRecipe.load(name).digest() == report.recipe.digest()
    kept = [path for path in normalization.STUDIES.glob("*/*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) < 2e6  # bytes: part of every clone
