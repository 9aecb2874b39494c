"""Cards and weights by name."""

import json

import keras
import numpy as np
import pytest

import zoo
from zoo import cards, files, keras_files, pretrained


def a_card(model: keras.Model, path, **changes) -> zoo.Card:
    values = {
        "name": "resnet20.test",
        "arch": "resnet20",
        "input_shape": (8, 8, 3),
        "num_classes": 10,
        "norm": zoo.Norm("batch", epsilon=1e-3),
        "dropout": 0.0,
        "width": 0.5,
        "preprocessing": zoo.Preprocessing(size=(8, 8), mean=(0.5,) * 3, std=(0.25,) * 3),
        "labels": tuple("0123456789"),
        "dataset": "digits",
        "precision": "float32",
        "metrics": {"test_accuracy": 0.5},
        "recipe": {"epochs": 1},
        "sha256": files.sha256(path),
        "versions": {"keras": keras.__version__},
    }
    return zoo.Card(**{**values, **changes})


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of weights, found through the environment; and the model that was saved there."""
    model = zoo.create_model(
        "resnet20", input_shape=(8, 8, 3), width=0.5, norm=zoo.Norm(epsilon=1e-3)
    )
    for variable in model.weights:
        variable.assign(np.random.default_rng(0).uniform(0.5, 1, variable.shape))
    folder = tmp_path / "resnet20.test"
    folder.mkdir()
    path = keras_files.save(model, folder / cards.MODEL_FILE)
    a_card(model, path).write(folder / cards.CARD_FILE)
    monkeypatch.setenv(pretrained.FOLDERS_VARIABLE, str(tmp_path))
    return folder, model


def test_a_card_comes_back_as_it_was(weights):
    folder, _ = weights
    card = zoo.card("resnet20.test")
    assert card == cards.Card.read(folder / cards.CARD_FILE)
    assert card.preprocessing.std == (0.25, 0.25, 0.25)
    assert "resnet20.test" in zoo.list_models(pretrained=True)
    with pytest.raises(ValueError, match="frozen"):
        card.metrics = {}


def test_weights_may_lie_in_the_home_folder(weights, monkeypatch):
    monkeypatch.setenv("HOME", str(weights[0].parent))
    monkeypatch.setenv(pretrained.FOLDERS_VARIABLE, "~")
    assert pretrained.folder("resnet20.test") == weights[0]


def test_load_model_gives_the_saved_weights(weights):
    _, model = weights
    loaded = zoo.load_model("resnet20.test")
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.get_layer("stem_norm").epsilon == 1e-3


def test_another_number_of_classes_gets_a_new_head_and_the_old_body(weights):
    _, model = weights
    loaded = zoo.load_model("resnet20.test", num_classes=3)
    assert loaded.output_shape == (None, 3)
    old = model.get_layer("stem_conv").get_weights()[0]
    np.testing.assert_array_equal(loaded.get_layer("stem_conv").get_weights()[0], old)


def test_the_body_alone(weights):
    assert zoo.load_model("resnet20.test", include_top=False).output_shape == (None, 2, 2, 32)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"width": 1.0}, "do not fit layer"),
        ({"norm": "group"}, r"it differs in .*kind \('group', there 'batch'\)"),
        ({"norm": "batch"}, r"it differs in epsilon \(1e-05, there 0\.001\); accepted are"),
        ({"norm": None}, "kind"),
        ({"norm": "default"}, r"it differs in epsilon \(1e-05, there 0\.001\)"),
        ({"norm": zoo.Norm(epsilon=1e-3, center=False)}, r"center \(False, there True\)"),
        ({"norm": zoo.Norm(epsilon=1e-3, placement="after_activation")}, "it differs in placement"),
        ({"nrom": "batch"}, "unknown override 'nrom'; did you mean norm"),
    ],
)
def test_an_override_that_the_weights_do_not_fit_is_refused(weights, overrides, told):
    with pytest.raises(zoo.InputError, match=told):
        zoo.load_model("resnet20.test", **overrides)


def test_the_norm_of_the_design_may_be_asked_for():
    assert zoo.load_model("resnet20.digits", norm="default").name == "resnet20"


def test_logits_of_several_layers_may_all_be_new(tmp_path):
    build = {"input_shape": (32, 32, 3), "norm": "none", "width": 0.125}
    model = zoo.create_model("squeezenet1_1", num_classes=10, **build)
    path = keras_files.save(model, tmp_path / cards.MODEL_FILE)
    card = a_card(
        model,
        path,
        name="squeezenet1_1.test",
        arch="squeezenet1_1",
        input_shape=(32, 32, 3),
        norm=zoo.Norm("none"),
        width=0.125,
        preprocessing=zoo.Preprocessing(size=(32, 32)),
    )
    card.write(tmp_path / cards.CARD_FILE)
    five = zoo.load_model(tmp_path, num_classes=5)
    assert five.output_shape == (None, 5)
    one, two = (each.get_layer("stem_conv").get_weights()[0] for each in (model, five))
    np.testing.assert_array_equal(one, two)
    with pytest.raises(zoo.InputError, match="do not fit layer 'stem_conv'"):
        zoo.load_model(tmp_path, num_classes=5, width=0.25)


def test_what_matters_in_training_only_may_be_another(weights):
    _, model = weights
    norm = zoo.Norm(epsilon=1e-3, momentum=0.5, groups=4, synchronized=True)
    loaded = zoo.load_model("resnet20.test", norm=norm, dropout=0.5)
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.get_layer("stem_norm").momentum == 0.5


@pytest.mark.parametrize("ask", [zoo.card, zoo.load_model])
def test_a_name_is_a_text(ask):
    with pytest.raises(zoo.InputError, match=r"for example 'resnet20\.digits'; received 3"):
        ask(3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": ("a", "b")}, "labels: accepted are as many as num_classes, 10; received 2"),
        ({"input_shape": (8, 9, 3)}, r"preprocessing: .*\(8, 9, 3\); .* gives \(8, 8, 3\)"),
        ({"input_shape": (None, None, 1)}, r"preprocessing: .* gives \(8, 8, 3\)"),
        ({"metrics": {"test_accuracy": float("nan")}}, r"metrics\.test_accuracy.* finite"),
        ({"metrics": {"test_accuracy": 7.5}}, "test_accuracy: accepted is 0 to 1; received 7.5"),
        ({"metrics": {"val_accuracy_low": -1}}, "val_accuracy_low: accepted is 0 to 1"),
        ({"metrics": {"published_top5": 97}}, "published_top5: accepted is 0 to 1; received 97"),
        ({"metrics": {"parameters": -3}}, "parameters: accepted is 0 to .*; received -3"),
        ({"metrics": {"test_images": 10**400}}, "test_images: accepted is .*; received 1000"),
        ({"num_classes": True}, r"Card\.num_classes"),
    ],
)
def test_a_card_fits_its_own_model(weights, changes, told):
    folder, model = weights
    with pytest.raises(zoo.InputError, match=told):
        a_card(model, folder / cards.MODEL_FILE, **changes)


def test_a_card_of_a_model_for_any_size(weights):
    folder, model = weights
    card = a_card(model, folder / cards.MODEL_FILE, input_shape=(None, 8, 3))
    assert cards.Card.read(card.write(folder / cards.CARD_FILE)) == card


def test_a_changed_byte_is_refused_before_keras_reads_it(weights):
    folder, _ = weights
    path = folder / cards.MODEL_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(zoo.InputError, match="damaged or was exchanged"):
        zoo.load_model("resnet20.test")


def test_unknown_weights_and_missing_files(weights):
    folder, _ = weights
    with pytest.raises(zoo.InputError, match=r"no weights named 'resnet20.tset'; did you mean"):
        zoo.load_model("resnet20.tset")
    (folder / cards.MODEL_FILE).unlink()
    with pytest.raises(zoo.InputError, match=r"the weight file .* is missing"):
        zoo.load_model("resnet20.test")


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"name": "a.b"}', '{"nmae": 1}', '{"self": 1}', "[" * 100_000]
)
def test_a_damaged_card_is_told_in_one_line(tmp_path, content):
    path = tmp_path / "card.json"
    path.write_text(content)
    with pytest.raises(zoo.InputError, match="is not a card") as caught:
        cards.Card.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recipe", f'{{"epochs": {"9" * 5001}}}'),
        ("labels", json.dumps(["\ud800x", *"123456789"])),
        ("notes", json.dumps(["\ud800x"])),
        ("dataset", json.dumps("\ud800x")),
        ("metrics", '{"test_accuracy": 7.5}'),
        ("metrics", '{"parameters": -3}'),
    ],
)
def test_a_damaged_card_hides_no_other_weights(weights, capsys, key, value):
    path = weights[0] / cards.CARD_FILE
    card = {name: json.dumps(told) for name, told in json.loads(path.read_text()).items()}
    text = ", ".join(f'"{name}": {told}' for name, told in {**card, key: value}.items())
    path.write_text(f"{{{text}}}")
    with pytest.raises(zoo.InputError, match="is not a card"):
        zoo.card("resnet20.test")
    assert zoo.list_models("resnet20.*", pretrained=True, dataset="digits") == ["resnet20.digits"]
    assert "resnet20.test is left out" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/proc/self/mem", "/dev/null/card.json", "c" * 300])
def test_a_card_that_cannot_be_read_is_told(path):
    with pytest.raises(zoo.InputError, match="cannot be read"):
        cards.Card.read(path)


def test_preprocessing_is_scale_then_mean_then_std():
    preprocessing = zoo.Preprocessing(size=(2, 2), mean=(0.5, 0, 0), std=(0.5, 1, 2))
    image = np.full((1, 2, 2, 3), 255, np.uint8)
    np.testing.assert_allclose(preprocessing(image)[0, 0, 0], [1, 1, 0.5], rtol=1e-6)
    with pytest.raises(zoo.InputError, match=r"received float64 of shape \(1, 2, 2, 3\)"):
        preprocessing(image.astype(float))
    with pytest.raises(zoo.InputError, match="received uint8 of shape"):
        preprocessing(image[..., :1])
    with pytest.raises(zoo.InputError, match="one value per channel"):
        zoo.Preprocessing(size=(2, 2), mean=(0.0,))


@pytest.mark.parametrize(
    "values",
    [
        {"mean": (float("nan"), 0, 0)},
        {"mean": (1e30, 0, 0)},
        {"std": (0, 1, 1)},
        {"std": (1e-30, 1, 1)},
        {"std": (float("inf"), 1, 1)},
        {"scale": float("inf")},
        {"scale": 1e-30},
        {"size": (True, 2)},
        {"size": (2, 10**9)},
    ],
)
def test_preprocessing_that_overflows_is_refused(values):
    with pytest.raises(zoo.InputError, match=rf"Preprocessing\.{next(iter(values))}"):
        zoo.Preprocessing(**{"size": (2, 2), **values})


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_preprocessing_is_finite(sign):
    extreme = {"scale": 1e9, "mean": (sign * 1e9,) * 3, "std": (1e-9,) * 3}
    image = np.full((1, 2, 2, 3), 255, np.uint8)
    assert np.isfinite(zoo.Preprocessing(size=(2, 2), **extreme)(image)).all()


def test_reading_an_image_file(tmp_path):
    import PIL.Image

    PIL.Image.new("L", (9, 5), 200).save(tmp_path / "grey.png")
    preprocessing = zoo.Preprocessing(size=(4, 6))
    assert preprocessing.read(tmp_path / "grey.png").shape == (4, 6, 3)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(zoo.InputError, match="is not an image"):
        preprocessing.read(tmp_path / "text.png")
    with pytest.raises(zoo.InputError, match="there is no file"):
        preprocessing.read(tmp_path / "none.png")


def read(path, image, channels: int = 3, **options) -> np.ndarray:
    """Save an image of 2 by 3 pixels, and read it as a model takes it."""
    image.save(path, **options)
    one_each = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    return zoo.Preprocessing(size=(2, 3), channels=channels, **one_each).read(path)


def test_an_image_is_turned_as_its_exif_says(tmp_path):
    import PIL.Image

    upright = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # as cameras write for a picture to be turned a quarter to the right
    lying = PIL.Image.fromarray(np.rot90(upright).copy())
    np.testing.assert_array_equal(read(tmp_path / "a.png", lying, exif=exif), upright)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_grey_values_of_16_bits_are_scaled(tmp_path, name):
    import PIL.Image

    grey = np.array([[0, 257, 300], [32768, 65000, 65535]], np.uint16)
    pixels = read(tmp_path / name, PIL.Image.fromarray(grey), channels=1)
    assert pixels[..., 0].tolist() == [[0, 1, 1], [128, 253, 255]]


def test_a_transparent_grey_value_of_16_bits_is_white(tmp_path):
    import PIL.Image

    grey = PIL.Image.fromarray(np.array([[4660, 4661, 0]] * 2, np.uint16))
    pixels = read(tmp_path / "a.png", grey, channels=1, transparency=4660)
    assert pixels[..., 0].tolist() == [[255, 18, 0]] * 2


@pytest.mark.parametrize(
    ("dtype", "told"), [("int32", "32-bit integers"), ("float32", "floating-point numbers")]
)
def test_values_of_an_unknown_range_are_refused(tmp_path, dtype, told):
    import PIL.Image

    image = PIL.Image.fromarray(np.ones((2, 3), dtype))
    with pytest.raises(zoo.InputError, match=rf"a\.tif: accepted are .*; received {told}"):
        read(tmp_path / "a.tif", image)


@pytest.mark.parametrize(
    ("mode", "pixel", "options", "seen"),
    [
        ("RGBA", (10, 20, 30, 0), {}, [255, 255, 255]),
        ("RGBA", (10, 20, 30, 255), {}, [10, 20, 30]),
        ("LA", (0, 0), {}, [255, 255, 255]),
        ("L", 7, {"transparency": 7}, [255, 255, 255]),
        ("P", 0, {"transparency": 0}, [255, 255, 255]),
        ("RGB", (1, 2, 3), {}, [1, 2, 3]),
    ],
)
def test_what_is_transparent_is_white(tmp_path, mode, pixel, options, seen):
    import PIL.Image

    pixels = read(tmp_path / "a.png", PIL.Image.new(mode, (3, 2), pixel), **options)
    assert pixels[0, 0].tolist() == seen


def test_a_large_image_is_read_without_a_warning_and_a_huge_one_refused(
    tmp_path, monkeypatch, recwarn
):
    import PIL.Image

    image = PIL.Image.new("L", (3, 2))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 5)
    assert read(tmp_path / "a.png", image).shape == (2, 3, 3)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(zoo.InputError, match=r"a\.png is not an image that can be read: .*bomb"):
        read(tmp_path / "a.png", image)
    assert list(recwarn) == []


def test_a_truncated_image_is_told(tmp_path):
    import PIL.Image

    path = tmp_path / "a.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(zoo.InputError, match="is not an image that can be read"):
        zoo.Preprocessing(size=(2, 2)).read(path)
