"""The curves of a run: a picture, and a page that hides nothing and asks for nothing."""

import io
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

import training
from training import curves, environment
from zoo.hardware import cores, processor

from ..export.pages import HOSTILE, Page, browse
from .finished import HISTORY, Content, make_card


@pytest.fixture
def long_recipe(recipe):
    return training.Recipe.load(recipe, epochs=3, seed=7)


def open_png(data: bytes) -> PIL.Image.Image:
    picture = PIL.Image.open(io.BytesIO(data))
    picture.load()
    return picture


def test_the_picture_is_portrait_and_tells_itself_in_words(long_recipe, tmp_path):
    curves.write(tmp_path, long_recipe, HISTORY, make_card(long_recipe))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.html", "curves.png"]
    picture = open_png((tmp_path / "curves.png").read_bytes())
    assert picture.size == (810, 1260)
    assert picture.text["Title"] == "tiny.digits"
    words = picture.text["Description"]
    assert "Loss: train ends at 0.6667; held out ends at 0.7333" in words
    assert "Accuracy: train ends at 83.33 %; held out ends at 80.00 %" in words
    assert "Learning rate: learning rate ends at 0.03333" in words


def test_the_picture_draws_the_numbers_of_the_history(long_recipe):
    figure = curves.picture(long_recipe, HISTORY, make_card(long_recipe))
    losses, accuracies, rates = figure.axes
    assert [line.get_label() for line in losses.lines] == ["train", "held out"]
    for axes, names in (
        (losses, ["loss", "val_loss"]),
        (accuracies, ["accuracy", "val_accuracy"]),
        (rates, ["learning_rate"]),
    ):
        for line, name in zip(axes.lines, names, strict=True):
            assert list(line.get_xdata()) == [1, 2, 3]
            assert list(line.get_ydata()) == [row[name] for row in HISTORY]
    assert losses.get_title() == "3 of 3 epochs, test accuracy 75.00 % (73.00 to 76.00)"


def test_lines_can_be_told_apart_in_grey():
    from matplotlib.colors import to_rgb

    colours, dashes = zip(*curves._STYLES, strict=True)
    # Luma as in ITU-R BT.601; a printer shows a difference of a fifth.
    greys = [np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) for colour in colours[:2]]
    assert abs(greys[0] - greys[1]) > 0.2
    assert len(set(dashes)) == len(dashes)


def test_drawing_uses_no_global_state():
    code = (
        "import sys, training\n"
        "from training import curves\n"
        "recipe = training.Recipe.load('resnet20.digits')\n"
        "row = dict(epoch=1, loss=1.0, accuracy=0.5, learning_rate=0.1)\n"
        "curves.picture(recipe, [row]).canvas.draw()\n"
        "sys.exit(bool({'matplotlib.pyplot', 'tensorflow', 'keras.src'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_has_everything_in_one_file(long_recipe):
    noted = training.Recipe.load(long_recipe, notes=(HOSTILE,))
    card = make_card(noted, notes=(HOSTILE,))
    html = curves.page(noted, HISTORY, card)
    Page(html).check()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "prefers-color-scheme: dark" in html
    content = Content(html)
    assert [label.partition(":")[0] for label in content.drawings] == [
        "Loss",
        "Accuracy",
        "Learning rate",
    ]
    (table,) = content.tables
    assert table[0] == [name.replace("_", " ") for name in HISTORY[0]]
    assert table[2][:2] == ["2", "1"]
    assert len(table) == 4
    assert all(header["scope"] == "col" for header in content.headers)
    for text in (
        "75.00 %",
        "95 % interval 73.00 % to 76.00 %, 359",
        "best 80.00 %",
        "5 min",  # 300 seconds
        "a processor, 2 threads",
        "float32",
        "<dt>keras</dt><dd>3.0.0</dd>",
        "<dt>norm.kind</dt><dd>batch</dd>",
        "<dt>seed</dt><dd>7</dd>",
    ):
        assert text in html, text


def test_while_it_is_under_way_the_page_says_so(long_recipe, monkeypatch):
    monkeypatch.setattr(environment, "hardware", lambda: "another processor")
    html = curves.page(long_recipe, HISTORY[:2])
    Page(html).check()
    assert "2 of 3 epochs, under way" in html
    assert "another processor" in html
    assert "Test accuracy" not in html


def test_a_single_epoch_without_held_out_images_can_be_drawn(long_recipe, tmp_path):
    row = {name: value for name, value in HISTORY[0].items() if not name.startswith("val_")}
    curves.write(tmp_path, long_recipe, [row])
    html = (tmp_path / "curves.html").read_text().replace("<dt>holdout</dt>", "")
    assert "held" not in html.lower()
    assert open_png((tmp_path / "curves.png").read_bytes()).size == (810, 1260)


def test_it_is_drawn_at_most_once_a_minute(long_recipe, tmp_path):
    now = [0.0]
    history = []
    drawing = curves.Drawing(tmp_path, long_recipe, history, clock=lambda: now[0])
    pictures = []
    for epoch, time in ((1, 59.0), (2, 61.0), (3, 500.0)):
        now[0] = time
        history.append(HISTORY[epoch - 1])
        drawing.epoch(history[-1])
        page = tmp_path / "curves.html"
        pictures.append("2 of 3 epochs" in page.read_text() if page.exists() else None)
    # Nothing before a minute is over; the last epoch is drawn by the end of the training.
    assert pictures == [None, True, True]


def test_a_training_leaves_its_curves_and_its_hardware(recipe, tmp_path, silent):
    result = training.train(recipe, out=tmp_path / "run", progress=silent)
    assert result.card.hardware == environment.hardware()
    html = (tmp_path / "run" / "curves.html").read_text()
    assert result.card.hardware in html
    low, high = (100 * result.card.metrics[f"test_accuracy_{end}"] for end in ("low", "high"))
    assert f"({low:.2f} to {high:.2f})" in html
    (table,) = Content(html).tables
    assert len(table) == 1 + len(result.history)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (["NVIDIA H100"], "NVIDIA H100"),
        (["NVIDIA H100"] * 2, "2 × NVIDIA H100"),
        (["A", "B", "A"], "2 × A, B"),
    ],
)
def test_accelerators_are_named(monkeypatch, devices, expected):
    monkeypatch.setattr(environment, "_accelerators", lambda: devices)
    assert environment.hardware() == expected


def test_without_accelerators_it_is_the_processor(monkeypatch):
    monkeypatch.setattr(environment, "_accelerators", list)
    assert environment.hardware().startswith(f"{processor()}, {cores()} thread")


@pytest.mark.slow
def test_a_real_browser_shows_it_without_complaint(long_recipe, tmp_path):
    curves.write(tmp_path, long_recipe, HISTORY, make_card(long_recipe))
    assert "Every epoch" in browse(tmp_path / "curves.html", tmp_path)
