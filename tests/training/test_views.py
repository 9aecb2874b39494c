import json

import numpy as np
import pytest

import training
import zoo
from training import views
from zoo import InputError, keras_files
from zoo.cli import run
from zoo.files import sha256

from .finished import make_card

IMAGES = np.arange(2 * 4 * 5 * 3, dtype=np.float32).reshape(2, 4, 5, 3)


def seen(count):
    """What a classifier is shown, and the function that showed it."""
    shown = []

    def predict(images):
        shown.append(images)
        return images.reshape(len(images), -1)

    return shown, views.averaged(predict, count)


def test_one_view_is_the_classifier_itself():
    assert views.averaged(len, 1) is len


def test_two_views_are_the_image_and_its_mirror_image():
    shown, predict = seen(2)
    found = predict(IMAGES)
    image, mirrored = shown
    assert (image == IMAGES).all()
    assert (mirrored == IMAGES[:, :, ::-1]).all()
    assert found.dtype == np.float64
    assert (found == (image + mirrored).reshape(2, -1) / 2).all()


def test_six_views_are_these_and_both_shifted_to_two_corners():
    shown, predict = seen(6)
    found = predict(IMAGES)
    plain, mirrored = shown[::2], shown[1::2]
    for one, other in zip(plain, mirrored, strict=True):
        assert (other == one[:, :, ::-1]).all()
    middle, up, down = plain
    assert (middle == IMAGES).all()
    assert (up[:, :-1, :-1] == IMAGES[:, 1:, 1:]).all()
    assert (down[:, 1:, 1:] == IMAGES[:, :-1, :-1]).all()
    # What comes in from outside is reflected: the border itself is not repeated.
    assert (up[:, -1, :-1] == IMAGES[:, -2, 1:]).all()
    assert (down[:, 1:, 0] == IMAGES[:, :-1, 1]).all()
    share = [1 / 4] * 2 + [1 / 8] * 4
    expected = sum(part * np.float64(view) for part, view in zip(share, shown, strict=True))
    assert (found == expected.reshape(2, -1)).all()


def test_a_constant_image_has_equal_views():
    _, predict = seen(6)
    flat = np.full((1, 3, 3, 1), 7, np.float32)
    assert (predict(flat) == 7).all()


@pytest.mark.parametrize("count", [0, 3, -1, 7])
def test_other_numbers_are_refused(count, digits):
    with pytest.raises(InputError, match=f"views: accepted are 1, 2, 6; received {count}"):
        training.evaluate(lambda images: images, digits, views=count)


def test_the_measured_accuracy_is_that_of_the_mean(digits):
    images = digits.preprocessing(digits.test.images)
    kernel = np.random.default_rng(0).normal(size=(images[0].size, 10))

    def classify(images):
        return images.reshape(len(images), -1) @ kernel

    logits = (classify(images) + classify(images[:, :, ::-1])) / 2
    found = training.evaluate(classify, digits, views=2)
    assert found.views == 2
    assert found.accuracy == (logits.argmax(-1) == digits.test.labels).mean()
    assert found.accuracy != training.evaluate(classify, digits).accuracy


def test_a_recipe_measures_them_at_its_end(recipe, digits, silent, tmp_path):
    chosen = training.Recipe.load(recipe, views=2)
    result = training.train(chosen, out=tmp_path / "run", progress=silent)
    model, metrics = result.model, result.card.metrics
    one, two = (training.evaluate(model, digits, views=count) for count in (1, 2))
    assert metrics["test_accuracy"] == one.accuracy
    assert metrics["test_views"] == 2
    assert metrics["test_views_accuracy"] == two.accuracy
    assert (
        metrics["test_views_accuracy_low"],
        metrics["test_views_accuracy_high"],
    ) == two.interval
    assert "By 2 views" in (tmp_path / "run" / "curves.html").read_text()


def test_the_command_stores_them_beside_those_of_one_view(capsys, recipe, digits, tmp_path):
    model = zoo.create_model("tiny", input_shape=(8, 8, 3))
    path = keras_files.save(model, tmp_path / "model.keras")
    card = make_card(recipe, sha=sha256(path), preprocessing=digits.preprocessing)
    card.write(tmp_path / "card.json")
    for count in ("1", "6"):
        command = ["evaluate", str(path), "--data", "digits", "--views", count, "--write-card"]
        assert run(command) == 0
    assert "6 of each image, averaged" in " ".join(capsys.readouterr().out.split())
    stored = zoo.Card.read(tmp_path / "card.json").evaluations
    assert {name: value.views for name, value in stored.items()} == {
        "digits": 1,
        "digits, 6 views": 6,
    }
    assert stored["digits, 6 views"].accuracy == training.evaluate(model, digits, views=6).accuracy


def test_the_command_refuses_other_numbers_in_one_line(capsys):
    assert run(["evaluate", "resnet20.digits", "--data", "digits", "--views", "5"]) == 2
    assert "views: accepted are 1, 2, 6; received 5" in capsys.readouterr().err


def test_the_document_tells_how_many(capsys):
    assert run(["evaluate", "resnet20.digits", "--data", "digits", "--views", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["views"] == 2
