"""The weights of keras.applications: what is known of them, and how ours take them over."""

import dataclasses
import hashlib
import json

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

import export
import training
import zoo
from export import sources
from training import initial
from zoo import downloads, facts, imagenet, matching, official, pretrained

from .server import serving
from .test_parity import difference, trained, without_preprocessing

NAMES = official.names()
FAST = ("mobilenet_v2.imagenet_w035",)  # the others take more than a few seconds
# Larger ones take minutes; a smaller one of each family stands for them in every run.
PARAMETERS, LAYERS = 40e6, 500
# Where the weights depend on the size, or the strides ask for more than 32 pixels, or the last maps
# of 32 pixels would be so small that the image hardly matters behind random weights.
SIZES = {
    "efficientnet_b0": 64,
    "efficientnet_b1": 64,
    "mobilenet.": 64,
    "vgg": 32,
    "xception": 71,
    "inception": 75,
    "nasnet": 32,
}


def marked(names: list[str]) -> list:
    """The names as parameters, the slow ones marked."""
    return [pytest.param(name, marks=mark(name), id=name) for name in names]


def is_large(name: str) -> bool:
    """Whether the test of some weights is left to `make nightly`."""
    known = facts.read()[name]
    return known.parameters > PARAMETERS or known.layers > LAYERS


def mark(name: str) -> pytest.MarkDecorator | tuple[()]:
    """When a test of some weights runs."""
    if is_large(name):
        return pytest.mark.nightly
    return () if name in FAST else pytest.mark.slow


def side(name: str) -> int:
    """A side of few pixels that the design takes."""
    return next((size for family, size in SIZES.items() if name.startswith(family)), 32)


def ours(name: str, size: int) -> keras.Model:
    """Our model as the weights' card says, for a size."""
    card = zoo.card(name)
    return zoo.create_model(card.arch, **{**card.options(), "input_shape": (size, size, 3)})


def write(network: keras.Model, path) -> None:
    """Write weights in the form of keras.applications' files."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)


@pytest.mark.parametrize("name", marked(NAMES))
def test_a_file_of_keras_applications_gives_its_outputs(tmp_path, name):
    entry, size = official.known()[name], side(name)
    network = official.application(entry, (size, size, 3))
    random = trained(without_preprocessing(network))
    path = tmp_path / entry.file
    write(network, path)
    model = ours(name, size)
    official.convert(path, entry, model)
    assert difference(model, random) <= 1e-5  # of float32's rounding, layer after layer
    wide = [export.rebuild(one, "float64") for one in (model, random)]
    matching.carry(wide[1], wide[0])  # in float64, as a mean less a bias is rounded again
    assert difference(*wide) <= 1e-10


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    """A file of MobileNetV2 of width 0.35, as bytes, and the network."""
    entry = official.known()["mobilenet_v2.imagenet_w035"]
    network = trained(official.application(entry, (224, 224, 3)))
    path = tmp_path_factory.mktemp("official") / entry.file
    write(network, path)
    return path.read_bytes(), network


@pytest.fixture
def served(monkeypatch, tmp_path, small_file):
    """A server that is the origin of MobileNetV2's weights, whose hash it is given."""
    name = "mobilenet_v2.imagenet_w035"
    monkeypatch.setenv(downloads.CACHE_VARIABLE, str(tmp_path / "cache"))
    with serving() as server:
        entry = official.known()[name]
        server.files[entry.file] = small_file[0]
        index = {str(n): [f"n{n:08}", "crane" if n in (134, 517) else f"c{n}"] for n in range(1000)}
        server.files["imagenet_class_index.json"] = json.dumps(index).encode()
        known = {name: entry.replace(origin=server.address("whole"))}
        monkeypatch.setattr(official, "known", lambda: known)
        address = server.address("whole", "imagenet_class_index.json")
        monkeypatch.setattr(imagenet, "CLASS_INDEX", zoo.cards.Origin(url=address, digest=""))
        yield server


def test_official_weights_are_fetched_and_loaded_by_name(served, small_file):
    name = "mobilenet_v2.imagenet_w035"
    assert name in zoo.list_models(pretrained=True)
    assert zoo.card(name).labels == ()
    model = zoo.load_model(name)
    assert difference(model, small_file[1]) <= 1e-5
    card = zoo.card(name)
    assert card.labels[0] == "c0"
    assert card.labels[134] == "crane (n00000134)"
    assert len(set(card.labels)) == len(card.labels) == 1000
    assert len(card.sha256) == 64
    ten = zoo.load_model(name, num_classes=10)
    assert ten.output_shape == (None, 10)
    stem = [one.get_layer("stem_conv").get_weights()[0] for one in (model, ten)]
    np.testing.assert_array_equal(*stem)
    assert len(served.asked) == 2
    given = sources.source(name)
    assert given.card == card


@pytest.fixture
def numbered(served):
    """Digits as if they were ImageNet's images, whose classes are called by WordNet's numbers."""
    numbers = tuple(f"n{number:08}" for number in range(1000))
    return dataclasses.replace(training.load_data("digits"), name="imagenet2012", labels=numbers)


def test_the_numbers_of_wordnet_are_imagenets_classes(served, numbered, monkeypatch):
    names = imagenet.labels()
    numbered.check_labels(names)
    assert len(served.asked) == 1
    for others in (names[::-1], names[:999], [f"class {number}" for number in range(1000)]):
        with pytest.raises(zoo.InputError, match="imagenet2012 has the classes n00000000"):
            numbered.check_labels(others)
    monkeypatch.setenv(downloads.OFFLINE_VARIABLE, "1")
    numbered.check_labels(names)
    (downloads.cache() / "imagenet_class_index.json").unlink()
    with pytest.raises(zoo.InputError, match="imagenet2012 has the classes n00000000"):
        numbered.check_labels(names)


def test_fine_tuning_on_imagenet_keeps_imagenets_logits(served, numbered):
    name = "mobilenet_v2.imagenet_w035"
    source = zoo.load_model(name)
    card = zoo.card(name)
    model = zoo.create_model(card.arch, **card.options())
    recipe = training.Recipe(
        name="mobilenet_v2.mine",
        arch=card.arch,
        width=card.width,
        padding=card.padding,
        norm=card.norm,
        dataset="imagenet2012",
        epochs=1,
        weights=name,
    )
    (told,) = initial.load(model, recipe, numbered.labels)
    assert told.startswith(f"first weights: {name}, SHA-256")
    np.testing.assert_array_equal(
        model.get_layer("logits").get_weights()[0], source.get_layer("logits").get_weights()[0]
    )


def test_a_damaged_index_of_the_classes_is_unknown_and_fetched_again(served, monkeypatch):
    name = "imagenet_class_index.json"
    digest = f"sha256:{hashlib.sha256(served.files[name]).hexdigest()}"
    monkeypatch.setattr(
        imagenet, "CLASS_INDEX", imagenet.CLASS_INDEX.model_copy(update={"digest": digest})
    )
    downloads.cache().mkdir()
    (downloads.cache() / name).write_bytes(b"{")
    assert zoo.card("mobilenet_v2.imagenet_w035").labels == ()
    assert served.asked == []
    assert imagenet.labels()[0] == "c0"


def test_a_file_put_there_by_hand_is_on_the_card(served, small_file):
    name = "mobilenet_v2.imagenet_w035"
    downloads.cache().mkdir()
    path = downloads.cache() / official.known()[name].file
    path.write_bytes(small_file[0])
    zoo.load_model(name)
    assert zoo.card(name).sha256 == hashlib.sha256(small_file[0]).hexdigest()
    assert len(served.asked) == 1  # the classes' names


def test_weights_load_without_the_names_of_the_classes(served):
    name = "mobilenet_v2.imagenet_w035"
    del served.files["imagenet_class_index.json"]
    with pytest.warns(UserWarning, match="names of its classes stay unknown: .* 404") as told:
        assert zoo.load_model(name).output_shape == (None, 1000)
    (warning,) = [one for one in told if "stay unknown" in str(one.message)]
    assert "\n" not in str(warning.message)
    assert zoo.card(name).labels == ()


def test_a_file_of_another_network_is_refused(served, tmp_path):
    name = "mobilenet_v2.imagenet_w035"
    other = official.known()[name].replace(width=1.0)
    network = official.application(other, (32, 32, 3))
    write(network, tmp_path / "other.h5")
    with pytest.raises(zoo.InputError, match="does not hold the weights of MobileNetV2") as told:
        official.convert(tmp_path / "other.h5", official.known()[name], ours(name, 32))
    assert "remove it" not in str(told.value)  # it could not be fetched to there


def test_a_damaged_file_in_the_cache_is_kept_until_it_is_removed(served, small_file):
    name = "mobilenet_v2.imagenet_w035"
    downloads.cache().mkdir()
    path = downloads.cache() / official.known()[name].file
    path.write_bytes(b"<!doctype html>")
    with pytest.raises(zoo.InputError, match=r"does not hold .*; remove it to have it fetched"):
        zoo.load_model(name)
    assert path.read_bytes() == b"<!doctype html>"  # somebody may have put it there
    path.unlink()
    zoo.load_model(name)
    assert path.read_bytes() == small_file[0]


def test_an_override_with_which_the_weights_mean_something_else_is_refused(served):
    name = "mobilenet_v2.imagenet_w035"
    with pytest.raises(zoo.InputError, match="another padding"):
        zoo.load_model(name, padding="symmetric")
    with pytest.raises(zoo.InputError, match="another norm"):
        zoo.load_model(name, norm="group")
    assert served.asked == []


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"num_classes": 0}, "num_classes"),
        ({"dropout": 2}, "dropout"),
        ({"width": 3.0}, r"do not fit layer 'stem_conv'.* no layer but the logits"),
        ({"input_shape": (32, 32, 1)}, "do not fit layer 'stem_conv'"),
        ({"input_shape": (1, 1)}, "input_shape"),
    ],
)
def test_an_override_is_checked_before_anything_is_fetched(served, overrides, told):
    with pytest.raises(zoo.InputError, match=told):
        zoo.load_model("mobilenet_v2.imagenet_w035", **overrides)
    assert served.asked == []


def test_offline_says_where_the_file_would_be(served, monkeypatch):
    monkeypatch.setenv(downloads.OFFLINE_VARIABLE, "1")
    with pytest.raises(zoo.InputError, match="not in the cache"):
        zoo.load_model("mobilenet_v2.imagenet_w035")
    with pytest.raises(zoo.InputError, match="FOLDZOO_OFFLINE"):
        zoo.load_model("hf://someone/something")


def test_hugging_face_takes_no_overrides():
    with pytest.raises(zoo.InputError, match="no overrides; received num_classes"):
        zoo.load_model("hf://someone/something", num_classes=3)


@pytest.mark.parametrize("name", ["../resnet20.digits", "/etc/resnet20.digits", "resnet20./.."])
def test_a_name_that_is_a_path_is_refused(name):
    with pytest.raises(zoo.InputError, match="there are no weights named"):
        zoo.load_model(name)


def test_every_entry_is_one_of_keras_applications():
    for name, entry in official.known().items():
        assert callable(getattr(keras.applications, entry.application)), name
        assert entry.origin.startswith("https://storage.googleapis.com/"), name
        assert downloads._NAME.fullmatch(entry.file), name


@pytest.mark.parametrize("name", NAMES)
def test_every_card_can_be_made(name):
    card = zoo.card(name)
    assert card.preprocessing.size == card.input_shape[:2]
    assert 0.4 < card.metrics["published_top1"] < 0.9
    assert pretrained.is_fetched(name)


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_the_preprocessing_is_that_of_keras_applications(mode):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    module = {"caffe": "vgg16", "tf": "xception", "torch": "densenet"}[mode]
    theirs = getattr(keras.applications, module).preprocess_input(pixels.astype("float32"))
    given = zoo.Preprocessing(size=(4, 4), **official._MODES[mode])
    # One rounding of float32 more or less, relative to the largest values, 255 before the mean.
    np.testing.assert_allclose(
        given(pixels), theirs, rtol=0, atol=3e-5 if mode == "caffe" else 3e-6
    )
