"""Each study in its fast form: what must be true of it, whatever its verdicts are."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import training
import zoo
from training.studies import batch_size, covariate_shift, mechanics
from training.studies.report import read_report
from training.studies.study import find
from training.studies.subject import subject
from training.studies.trainer import Bench
from zoo import blocks
from zoo.errors import InputError

from .models import builder

ROOT = Path(__file__).parents[3]
STUDIES = training.list_studies()


def python(code):
    """Run code in a new process; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fold_nothing(model):
    """Stand for export.fold, which training knows nothing of."""
    from types import SimpleNamespace

    return SimpleNamespace(model=model)


def do(name, out=None, **options):
    """Do a study's fast form with the small model, on digits."""
    options.setdefault("data", training.load_data("digits", image_size=8))
    return training.study(name, form="fast", out=out, model=builder, fold=fold_nothing, **options)


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("form", ["default", "full", "fast"])
def test_recipes_are_accepted(name, form):
    recipe = training.StudyRecipe.load(name, form)
    assert recipe.name == name
    assert form == "fast" or len(recipe.seeds) >= 5
    if form == "full":
        assert (recipe.training.arch, recipe.training.dataset) == ("resnet20", "cifar10")
        assert recipe.train_images == 0


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_runs_from_its_recipe_to_its_page(name, tmp_path):
    report = do(name, tmp_path)
    assert report.results
    assert set(find(name).measures(report.recipe.grid)) == set(report.summary.measures)
    # One seed decides nothing, whatever came out.
    assert {judged.verdict for judged in report.judged} == {"undecided"}
    for file in ("results.json", "results.csv", "results.html", "results.png"):
        assert (tmp_path / file).stat().st_size > 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text())))
    assert [row["run"] for row in rows] == list(report.results)
    again = read_report(tmp_path / "results.json")
    assert again.to_dict() == report.to_dict()
    assert again.page() == report.page()


@pytest.mark.parametrize("name", STUDIES)
def test_the_default_rules_ask_for_measures_that_there_are(name):
    """By made-up results of every run of the grid."""
    recipe = training.StudyRecipe.load(name)
    study, results = find(name), {}
    while new := [run for run in study.runs(recipe, results) if run.id not in results]:
        results |= {run.id: made_up(recipe) for run in new}
    measures = study.summary(recipe, results).measures
    for claim in recipe.claims:
        for rule in claim.rules:
            assert len(measures[rule.measure]) == len(recipe.seeds)
    assert len({run.id for run in study.runs(recipe, results)}) == len(results)
    assert set(study.measures(recipe.grid)) <= set(measures)


def made_up(recipe):
    """A run's result with every number that any study keeps."""
    errors = dict.fromkeys(mechanics._LABELS, 0.1) | {"lag_error": 0.0}
    along = dict.fromkeys(covariate_shift._KEYS, 0.5)
    targets = getattr(recipe.grid, "targets", ())
    sizes = getattr(recipe.grid, "noise_sizes", ())
    return {
        "accuracy": 0.9,
        "train_accuracy": 0.95,
        "held_out_accuracy": 0.9,
        "precise_accuracy": 0.9,
        "variance_off": 0.1,
        "mean_accuracy": 0.8,
        "loss": 0.1,
        "diverged": None,
        "step_ms": 1.0,
        "norms": 1,
        "norms_left": 0,
        "layers": 3,
        "layers_folded": 2,
        "plain_ms": 1.0,
        "folded_ms": 1.0,
        "difference": 0.0,
        "steps_to": {f"{target:g}": 10 for target in targets},
        "noise": {str(size): size**-0.5 for size in sizes},
        "curve": [{"step": 20, **along}] if recipe.name == "covariate_shift" else [[20, 0.5]],
        **along,
        **errors,
    }


def test_a_study_is_the_same_again_and_resumes_run_by_run(tmp_path):
    whole = do("initialisation", tmp_path / "whole")
    done = []

    def interrupt(run, count, total):
        done.append(run)
        if count == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do("initialisation", tmp_path / "parts", progress=interrupt)
    kept = sorted(path.name for path in (tmp_path / "parts" / "runs").iterdir())
    assert len(kept) == 2
    before = {name: (tmp_path / "parts" / "runs" / name).stat().st_mtime_ns for name in kept}
    resumed = do("initialisation", tmp_path / "parts")
    after = {name: (tmp_path / "parts" / "runs" / name).stat().st_mtime_ns for name in kept}
    assert before == after
    timeless = [
        {
            name: {k: v for k, v in one.items() if k != "step_ms"}
            for name, one in some.results.items()
        }
        for some in (whole, resumed)
    ]
    # Bit for bit, although the second process of work began in the middle.
    assert timeless[0] == timeless[1]


def test_runs_of_another_recipe_are_not_mixed_in(tmp_path):
    do("initialisation", tmp_path)
    recipe = training.StudyRecipe.load("initialisation", "fast")
    other = recipe.replace(steps=5)
    with pytest.raises(InputError, match="recipe"):
        training.study(
            other, out=tmp_path, model=builder, data=training.load_data("digits", image_size=8)
        )
    with pytest.raises(InputError, match="model"):
        training.study("initialisation", form="fast", out=tmp_path)


@pytest.mark.parametrize("name", [name for name in STUDIES if find(name).chooses])
def test_test_images_make_no_choice(name):
    """With wrong labels on all test images, what choices are made by stays the same."""
    data = training.load_data("digits", image_size=8)
    wrong = replace(data, test=replace(data.test, labels=(data.test.labels + 1) % 10))
    right, other = do(name).results, do(name, data=wrong).results

    def chosen_by(results):
        return {
            run: one["accuracy" if run.startswith("tune") else "held_out_accuracy"]
            for run, one in results.items()
            if not run.startswith("measure")
        }

    assert chosen_by(right) == chosen_by(other) != {}
    assert right != other


def test_the_best_settings_are_those_of_the_held_out_images():
    """A study takes the setting that is best there, though another is better on the test images."""
    recipe = training.StudyRecipe.load("learning_rate", "fast")
    by = {0.125: (0.7, 0.9), 100.0: (0.8, 0.1)}
    results = {
        run.id: {
            **made_up(recipe),
            **dict(zip(("accuracy", "held_out_accuracy"), by[run.settings["rate"]], strict=True)),
        }
        for run in find("learning_rate").runs(recipe, {})
    }
    (table,) = find("learning_rate").summary(recipe, results).tables
    assert [row[1:3] for row in table.rows] == [("70.00 %", "0.125")] * 2

    recipe = training.StudyRecipe.load("regularisation", "fast")
    results = {
        run.id: {**made_up(recipe), "held_out_accuracy": run.settings["dropout"]}
        for run in find("regularisation").runs(recipe, {})
    }
    table = find("regularisation").summary(recipe, results).tables[0]
    assert [row[-1] for row in table.rows] == ["0.5", ""] * 2


def test_held_out_images_are_the_last_ones_and_not_learned_from():
    data = training.load_data("digits", image_size=8)
    recipe = training.StudyRecipe.load("placement", "fast")
    for train_images in (0, 200):
        given = subject(recipe.replace(train_images=train_images), data=data, model=builder)
        rest = len(data.train) - recipe.held_out_images
        assert len(given.data.train) == (train_images or rest)
        np.testing.assert_array_equal(given.held_out.images, data.train.images[rest:])
    with pytest.raises(InputError, match="held_out_images"):
        subject(recipe.replace(held_out_images=len(data.train)), data=data, model=builder)
    with pytest.raises(InputError, match="chooses"):
        recipe.replace(held_out_images=0)


@pytest.mark.parametrize("name", ["results.csv", "results.json", "results.png", "results.html"])
def test_files_that_are_no_studys_are_kept(tmp_path, name):
    (tmp_path / name).write_text("somebody's own")
    with pytest.raises(InputError, match=f"holds {name} and no runs of a study; accepted is"):
        do("initialisation", tmp_path)
    assert (tmp_path / name).read_text() == "somebody's own"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_models_are_built_as_the_recipe_says():
    recipe = training.StudyRecipe.load("initialisation", "fast")
    run = recipe.training.replace(padding="same", stochastic_depth=0.2, dropout=0.1)
    data = training.load_data("digits", image_size=8)
    model = subject(recipe.replace(training=run), data=data).build(run)
    expected = zoo.create_model(
        run.arch,
        input_shape=(8, 8, 3),
        norm=run.norm,
        width=run.width,
        dropout=0.1,
        stochastic_depth=0.2,
        padding="same",
    )
    names = [layer.name for layer in model.layers]
    assert names == [layer.name for layer in expected.layers]
    assert any(name.endswith("_drop") for name in names)
    assert not any(name.endswith("_pad") for name in names if "shortcut" not in name)


def test_a_damaged_run_is_told(tmp_path):
    do("initialisation", tmp_path)
    path = next((tmp_path / "runs").iterdir())
    path.write_text("{")
    with pytest.raises(InputError, match=path.name):
        do("initialisation", tmp_path)


def test_a_diverged_run_is_a_result():
    report = do("learning_rate")
    diverged = [one for one in report.results.values() if one["diverged"]]
    assert all(one["accuracy"] == 0 and one["loss"] is None for one in diverged)
    json.dumps(report.to_dict(), allow_nan=False)


def test_words_do_not_change_a_recipe_and_rules_do():
    recipe = training.StudyRecipe.load("mechanics")
    table = recipe.to_dict()
    table["claims"][0]["text"] = table["title"] = "other words"
    assert training.StudyRecipe(**table).digest() == recipe.digest()
    table["claims"][0]["rules"][0]["holds_at"] = 1e-3
    assert training.StudyRecipe(**table).digest() != recipe.digest()


def test_a_bench_trains_as_the_training_does(recipe, silent, tmp_path):
    recipe = recipe.replace(holdout=0.0)
    result = training.train(recipe, progress=silent)
    steps = int(result.history[-1]["epoch"]) * (1438 // recipe.batch_size)
    study = training.StudyRecipe.load("initialisation", "fast")
    recipe = recipe.replace(epochs=1)  # a study counts in steps
    study = study.replace(training=recipe, steps=steps)
    bench = Bench(study, subject(study), {})
    # What ran before with other numbers leaves no trace.
    bench.train(recipe.replace(seed=3, learning_rate=0.7), steps=2)
    done = bench.train(recipe)
    (measured,) = done.measured.values()
    # The same steps, but for the order in which TensorFlow's threads add.
    assert measured.loss == pytest.approx(result.card.metrics["test_loss"], rel=1e-3)


def test_a_model_is_known_by_its_layers_and_not_by_their_names():
    recipe = training.StudyRecipe.load("initialisation", "fast")
    data = training.load_data("digits", image_size=8)

    def wider(norm, dropout):
        keras = blocks.keras
        image = keras.Input((8, 8, 3))
        return keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(image)))

    one, again, other = (
        subject(recipe, data=data, model=model).identity for model in (builder, builder, wider)
    )
    assert one == again
    assert one["data"] == other["data"] and one["model"] != other["model"]


def test_noise_of_the_statistics_falls_with_the_batch():
    report = do("regularisation")
    noise = next(one["noise"] for one in report.results.values() if "noise" in one)
    assert noise["32"] < noise["2"]


def test_a_study_leaves_the_dtype_policy_as_it_was():
    import keras

    before = keras.config.dtype_policy()
    recipe = training.StudyRecipe.load("initialisation", "fast")
    mixed = recipe.replace(training=recipe.training.replace(precision="mixed_bfloat16"), steps=1)
    data = training.load_data("digits", image_size=8)
    training.study(mixed, data=data, model=builder)
    assert keras.config.dtype_policy() == before


def test_placement_says_that_it_needs_to_fold(tmp_path):
    with pytest.raises(InputError, match="fold"):
        training.study(
            "placement",
            form="fast",
            model=builder,
            data=training.load_data("digits", image_size=8),
        )


def test_batch_sizes_scale_the_rate():
    recipe = training.StudyRecipe.load("batch_size")
    assert recipe.grid.sizes[0] == 2 and recipe.grid.sizes[-1] == 512
    assert len(batch_size.runs(recipe, {})) == 5 * 6 * 5


def test_reading_a_recipe_needs_no_keras():
    code = (
        "import sys, training; print(len(training.StudyRecipe.load('placement').claims));"
        "print('keras.src' in sys.modules)"
    )
    assert python(code).split()[1] == "False"


@pytest.mark.slow
def test_the_example_of_the_document_runs():
    text = (ROOT / "docs" / "normalization.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    told = python(example)
    assert told.count(" | ") == len(training.StudyRecipe.load("learning_rate").claims)


# All that a study needs of a backend: training, gradients, statistics.
ON_JAX = """
import os
os.environ["KERAS_BACKEND"] = "jax"
import training
for name in ("mechanics", "covariate_shift"):
    report = training.study(name, form="fast")
    print(name, report.made["backend"], all(one["accuracy"] for one in report.results.values()
          if "accuracy" in one))
"""


@pytest.mark.slow
def test_studies_run_on_jax():
    pytest.importorskip("jax", reason="needs JAX: pip install -c constraints.txt jax")
    assert python(ON_JAX).splitlines() == ["mechanics jax True", "covariate_shift jax True"]
