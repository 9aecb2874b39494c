"""First weights, frozen layers, zero gammas and what a finished run leaves of them."""

import importlib.util
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import training
import zoo
from training import checkpoint, initial
from zoo import InputError, cards, keras_files
from zoo.cli import run
from zoo.files import sha256

SHAPE = {"input_shape": (8, 8, 3), "width": 0.5}
DIGITS = tuple("0123456789")


def saved(folder, model, *, arch="resnet8", labels=tuple("abcdefghij"), **changes):
    """Write a model with a card, as a finished run would; return its file."""
    folder.mkdir()
    path = keras_files.save(model, folder / cards.MODEL_FILE)
    values = {
        "name": f"{arch}.source",
        "arch": arch,
        "input_shape": model.input_shape[1:],
        "num_classes": len(labels),
        "norm": zoo.Norm(),
        "dropout": 0.0,
        "width": 0.5,
        "preprocessing": zoo.Preprocessing(size=model.input_shape[1:3]),
        "labels": labels,
        "dataset": "letters",
        "precision": "float32",
        "metrics": {},
        "recipe": {},
        "sha256": sha256(path),
        "versions": {},
    }
    zoo.Card(**{**values, **changes}).write(folder / cards.CARD_FILE)
    return path


def shaken(model):
    """Give a model weights that no initialisation gives, and that keep the size of what passes."""
    random = np.random.default_rng(1)
    for weight in model.weights:
        shape = weight.shape
        spread = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0.1
        weight.assign(random.normal(0, spread, shape) + (0 if len(shape) > 1 else 1))
    return model


@pytest.fixture
def source(tmp_path):
    """The file of a small ResNet-8 for ten letters, and the model."""
    model = shaken(zoo.create_model("resnet8", **SHAPE))
    return saved(tmp_path / "resnet8.source", model), model


def by_layer(model):
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def same(one, two):
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def begun(recipe, labels=DIGITS):
    """Build a recipe's model and begin with what it asks for; return it and what is told."""
    shape = (recipe.image_size, recipe.image_size, 3)
    model = zoo.create_model(
        recipe.arch,
        input_shape=shape,
        num_classes=len(labels),
        norm=recipe.norm,
        width=recipe.width,
    )
    initial.freeze(model, recipe)
    return model, initial.begin(model, recipe, labels)


def test_other_classes_get_new_logits_and_the_old_body(resnet8, source):
    path, model = source
    recipe = training.Recipe.load(resnet8, weights=str(path))
    ours, told = begun(recipe)
    given, received = by_layer(model), by_layer(ours)
    assert [name for name in given if not same(given[name], received[name])] == ["logits"]
    assert told == [
        f"first weights: resnet8.source, SHA-256 {sha256(path)}",
        "new logits for the 10 classes of digits; those for the 10 of letters were dropped",
    ]


def test_another_number_of_classes_gets_new_logits(resnet8, source):
    path, _ = source
    ours, told = begun(training.Recipe.load(resnet8, weights=str(path)), labels=("x", "y"))
    assert ours.output_shape == (None, 2)
    assert "new logits for the 2 classes of digits" in told[1]


def test_a_network_whose_logits_are_a_convolution_gets_a_new_one(resnet8, tmp_path):
    # That of SqueezeNet is not the last layer, which averages.
    changes = {"norm": "none", "width": 0.125}
    model = zoo.create_model("squeezenet1_1", input_shape=(32, 32, 3), num_classes=10, **changes)
    fits = {**changes, "norm": zoo.Norm("none"), "arch": "squeezenet1_1"}
    path = saved(tmp_path / "squeezenet", shaken(model), **fits)
    recipe = training.Recipe.load(
        resnet8, arch="squeezenet1_1", weights=str(path), image_size=32, **changes
    )
    ours, told = begun(recipe, labels=("x", "y"))
    given, received = by_layer(model), by_layer(ours)
    differing = [name for name in given if given[name][0].shape != received[name][0].shape]
    assert differing == ["logits_conv"]
    assert all(same(given[name], received[name]) for name in given if name != "logits_conv")
    assert "new logits for the 2 classes of digits" in told[1]


def test_the_same_classes_keep_their_logits(resnet8, tmp_path):
    model = shaken(zoo.create_model("resnet8", **SHAPE))
    path = saved(tmp_path / "resnet8.source", model, labels=DIGITS)
    ours, told = begun(training.Recipe.load(resnet8, weights=str(path)))
    assert same(model.get_weights(), ours.get_weights())
    assert len(told) == 1


def test_weights_are_found_by_name(resnet8, source, monkeypatch):
    path, model = source
    monkeypatch.setenv("FOLDZOO_MODELS", str(path.parent.parent))
    ours, told = begun(training.Recipe.load(resnet8, weights="resnet8.source"))
    assert same(ours.get_layer("stem_conv").get_weights(), by_layer(model)["stem_conv"])
    assert told[0].startswith("first weights: resnet8.source")


def test_images_of_another_size_fit_where_no_layer_depends_on_it(resnet8, source):
    path, model = source
    ours, _ = begun(training.Recipe.load(resnet8, weights=str(path), image_size=12))
    given, received = by_layer(model), by_layer(ours)
    assert [name for name in given if not same(given[name], received[name])] == ["logits"]


def test_images_of_another_size_do_not_fit_a_layer_that_depends_on_it(recipe, tmp_path):
    changes = {"width": 0.0625, "norm": "none"}
    model = zoo.create_model("vgg11", input_shape=(32, 32, 3), num_classes=10, **changes)
    path = saved(tmp_path / "a", model, arch="vgg11", width=0.0625, norm=zoo.Norm("none"))
    wanted = training.Recipe.load(recipe, arch="vgg11", weights=str(path), image_size=64, **changes)
    with pytest.raises(InputError, match=r"do not fit layer 'head_1_dense', .* \[\(128, 256\)"):
        begun(wanted)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"arch": "resnet20"}, r"arch \('resnet20', there 'resnet8'\)"),
        ({"width": 1.0}, r"width \(1\.0, there 0\.5\)"),
        ({"norm.epsilon": 0.001}, r"norm\.epsilon \(0\.001, there 1e-05\)"),
        ({"norm": "group"}, r"norm\.groups \(32, there None\), norm\.kind \('group', there"),
        ({"norm": "none", "width": 0.25}, r"norm\.kind .*, width \(0\.25"),
    ],
    ids=str,
)
def test_weights_of_another_network_are_refused_with_what_differs(resnet8, source, changes, told):
    path, _ = source
    with pytest.raises(
        InputError, match=f"resnet8.source is of another network; .*{told}"
    ) as caught:
        begun(training.Recipe.load(resnet8, weights=str(path), **changes))
    assert "\n" not in str(caught.value)


def test_what_matters_in_training_only_may_be_another(resnet8, source):
    path, model = source
    changed = training.Recipe.load(resnet8, weights=str(path), **{"norm.momentum": 0.5})
    ours, _ = begun(changed)
    assert ours.get_layer("stem_norm").momentum == 0.5
    assert same(ours.get_layer("stem_norm").get_weights(), by_layer(model)["stem_norm"])


def test_files_that_cannot_be_begun_from_are_told(resnet8, source, tmp_path):
    path, model = source
    model.weights[0].assign(model.weights[0] + 1)  # saved as it is it might be the same file
    folded = keras_files.save(model, path.with_name("folded.keras"))
    for weights, told in [
        ("resnet8.suorce", "no weights named 'resnet8.suorce'"),
        (str(tmp_path / "no.keras"), "does not exist"),
        (str(folded), "is not the file that its card speaks of"),
    ]:
        with pytest.raises(InputError, match=told):
            begun(training.Recipe.load(resnet8, weights=weights))
    path.with_name(cards.CARD_FILE).unlink()
    with pytest.raises(InputError, match="there is no card"):
        begun(training.Recipe.load(resnet8, weights=str(path)))
    with pytest.raises(InputError, match=r"Recipe\.weights: .*received 'runs/digits'"):
        training.Recipe.load(resnet8, weights="runs/digits")


def test_frozen_layers_keep_every_bit_and_what_is_stored_trains_again(
    resnet8, source, tmp_path, silent
):
    path, model = source
    result = training.train(
        resnet8,
        weights=str(path),
        freeze=("stem*", "stage1_*", "stage2_block1_2_norm"),
        weight_decay=0.01,
        out=tmp_path / "run",
        progress=silent,
    )
    given, received = by_layer(model), by_layer(keras_files.load(tmp_path / "run" / "model.keras"))
    kept = {name for name in given if same(given[name], received[name])}
    assert kept == {
        name
        for name in given
        if name.startswith(("stem_", "stage1_")) or name == "stage2_block1_2_norm"
    }
    # The flags are of the training, not of what it leaves.
    for left in (result.model, keras_files.load(tmp_path / "run" / "model.keras")):
        assert all(layer.trainable for layer in left.layers)
        assert len(left.trainable_variables) == len(model.trainable_variables)
    assert result.card.notes[-2].startswith("first weights: resnet8.source, SHA-256 ")
    assert result.card.notes[-1].startswith("new logits for the 10 classes of digits")
    assert result.card.recipe["freeze"] == ["stem*", "stage1_*", "stage2_block1_2_norm"]


def test_frozen_norms_keep_their_parameters_and_statistics(resnet8, source, silent):
    path, model = source
    result = training.train(resnet8, weights=str(path), freeze_norm=True, progress=silent)
    given, received = by_layer(model), by_layer(result.model)
    kept = {name for name in given if same(given[name], received[name])}
    assert kept == {name for name in given if name.endswith("_norm")}


def test_the_optimizer_is_built_of_what_is_trained_only(recipe, tmp_path):
    frozen = training.Recipe.load(recipe, freeze=("stem_*",))

    class Stop(training.Progress):
        def step(self, *, step, **values):
            if step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(training.Interrupted):
        training.train(frozen, out=tmp_path, progress=Stop())
    _, arrays = checkpoint.read(tmp_path)
    # Iterations, the learning rate and one momentum each for the kernel and bias of the logits.
    shapes = [value.shape for name, value in arrays.items() if name.startswith("optimizer_")]
    assert [shape for shape in shapes if shape] == [(8, 10), (10,)]
    training.train(frozen, out=tmp_path, resume=True, progress=training.Progress())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"freeze": ("stme_*",)}, "'stme_\\*' matches no layer .* did you mean stem_\\*"),
        ({"freeze": ("stage1",)}, "did you mean stage1_\\*"),
        ({"freeze": ("stem_cnov",)}, "did you mean stem_conv"),
        ({"freeze": ("stem_act",)}, "no layer with weights of resnet8; did you mean"),
        ({"freeze": ("",)}, "accepted: logits, stage1_\\*, stage2_\\*, stage3_\\*, stem_\\*$"),
        ({"freeze": ("*",)}, "leave something to train; received \\*, which match all of resnet8"),
        ({"freeze_norm": True, "norm": "none"}, "freeze_norm: resnet8 has no norm"),
    ],
    ids=str,
)
def test_freezing_nothing_or_everything_is_refused(resnet8, changes, told):
    with pytest.raises(InputError, match=told) as caught:
        begun(training.Recipe.load(resnet8, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"weights": "resnet8.source"}, "accepted is false with pretrained weights"),
        ({"freeze_norm": True}, "stage1_block1_2_norm is frozen"),
    ],
    ids=str,
)
def test_zero_gammas_that_make_no_sense_are_refused(resnet8, changes, told):
    with pytest.raises(InputError, match=told):
        begun(training.Recipe.load(resnet8, zero_last_gamma=True, **changes))


def test_the_command_line_begins_with_weights(source, tmp_path, capsys):
    path, _ = source
    changes = ["image_size=8", "width=0.5", "arch=resnet8", "epochs=1", "precision=float32"]
    words = ["train", "resnet20.digits", *(part for one in changes for part in ("--set", one))]
    assert run([*words, "--from", str(path), "--out", str(tmp_path / "run"), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)["card"]
    assert card["recipe"]["weights"] == str(path)
    assert f"first weights: resnet8.source, SHA-256 {sha256(path)}" in card["notes"]
    assert run([*words, "--from", "resnet20.digit", "--out", str(tmp_path / "other")]) == 2
    assert "did you mean resnet20.digits" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


# Each branch that is left out is drawn from a state, and the source is gone before the run goes on.
TRAIN = """
import os, signal, sys
import training

class Kill(training.Progress):
    def step(self, *, step, **values):
        if step == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

training.train(
    "resnet20.digits", arch="resnet8", weights=sys.argv[1], freeze=["stem_*"], freeze_norm=True,
    out=sys.argv[2], resume=sys.argv[4] == "resume", progress=Kill(), image_size=8, width=0.5,
    stochastic_depth=0.5, epochs=2, warmup_epochs=0.0, batch_size=256, precision="float32",
)
"""


@pytest.mark.slow
def test_a_killed_fine_tuning_resumes_to_the_same_bits_without_its_source(source, tmp_path):
    path, _ = source
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def start(out, step, how):
        words = [sys.executable, "-c", TRAIN, str(path), str(out), str(step), how]
        return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)

    done = start(whole, -1, "begin")
    assert done.returncode == 0, done.stderr
    assert start(killed, 8, "begin").returncode == -signal.SIGKILL
    path.unlink()
    done = start(killed, -1, "resume")
    assert done.returncode == 0, done.stderr
    one, two = (keras_files.load(folder / "model.keras") for folder in (whole, killed))
    assert same(one.get_weights(), two.get_weights())
    notes = [zoo.Card.read(folder / cards.CARD_FILE).notes for folder in (whole, killed)]
    assert notes[0] == notes[1]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_first_weights_need_no_tensorflow(source):
    path, _ = source
    code = """
import sys
sys.modules["tensorflow"] = None
import training
small = {"image_size": 8, "width": 0.5, "epochs": 1, "batch_size": 256, "precision": "float32"}
for changes in (
    {"zero_last_gamma": True, "stochastic_depth": 0.3},
    {"weights": sys.argv[1], "freeze": ["stem_*"], "freeze_norm": True},
):
    training.train("resnet20.digits", arch="resnet8", **small, **changes)
"""
    words = [sys.executable, "-c", code, str(path)]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
