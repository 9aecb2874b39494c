import base64
import io
import json

import numpy as np
import PIL.Image
import pytest
from rich.console import Console
from sklearn import metrics as reference

import training
import zoo
from training.evaluation import Answers, wilson
from training.evaluation_page import page
from zoo import InputError, keras_files
from zoo.cli import learning, run
from zoo.cli.measured import confusion, measured
from zoo.files import sha256

from ..export.pages import HOSTILE, Page, browse
from .finished import Content, make_card


@pytest.fixture
def lookup(digits):
    """A function that gives each image of a split logits of its own, and what they are."""
    logits = np.random.default_rng(0).normal(0, 2, (len(digits.test), 10))
    table = {
        image.tobytes(): row
        for image, row in zip(digits.preprocessing(digits.test.images), logits, strict=True)
    }
    images = digits.preprocessing(digits.test.images)
    # Two images of the split may be the same; each gets the logits of the last one.
    return lambda batch: np.stack([table[image.tobytes()] for image in batch]), np.stack(
        [table[image.tobytes()] for image in images]
    )


@pytest.mark.parametrize("batch_size", [1, 100, 359, 1000])
def test_it_measures_what_scikit_learn_measures(digits, lookup, batch_size):
    model, logits = lookup
    measured = training.evaluate(model, digits, batch_size=batch_size)
    labels, predicted = digits.test.labels, logits.argmax(-1)
    odds = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert measured.count == 359
    assert measured.accuracy == reference.accuracy_score(labels, predicted)
    assert measured.correct == (labels == predicted).sum()
    assert (measured.confusion == reference.confusion_matrix(labels, predicted)).all()
    # Both are float64; only the order of the additions differs.
    assert measured.loss == pytest.approx(reference.log_loss(labels, odds), rel=1e-12)
    recall = reference.recall_score(labels, predicted, average=None)
    assert list(measured.per_class.values()) == pytest.approx(list(recall), rel=1e-12)
    for name, row in zip(digits.labels, measured.confusion, strict=True):
        assert measured.per_class_intervals[name] == wilson(row[int(name)], sum(row))
    assert json.loads(json.dumps(measured.to_dict()))["accuracy"] == measured.accuracy


@pytest.mark.parametrize(
    ("correct", "count", "expected"),
    # R's prop.test(x, n, correct=FALSE) gives these.
    [(5, 10, (0.2365931, 0.7634069)), (10, 10, (0.7224672, 1.0)), (0, 10, (0.0, 0.2775328))],
)
def test_the_interval_is_wilsons(correct, count, expected):
    assert wilson(correct, count) == pytest.approx(expected, abs=5e-8)


def ten_logits(batch):
    return np.zeros((len(batch), 10))


def test_what_cannot_be_measured_is_told(digits):
    split = digits.test.take(np.arange(3))
    with pytest.raises(InputError, match="no preprocessing"):
        training.evaluate(ten_logits, split)
    with pytest.raises(InputError, match="at least one image"):
        training.evaluate(ten_logits, split.take([]), preprocessing=digits.preprocessing)
    for labels, told in (
        (split.labels[:, None], r"int64 of shape \(3, 1\)"),
        (split.labels[:2], r"of each of 3 images; received int64 of shape \(2,\)"),
        (split.labels / 2, r"received float64 of shape \(3,\)"),
    ):
        unfit = training.Split(split.images, labels)
        with pytest.raises(InputError, match=told):
            training.evaluate(ten_logits, unfit, preprocessing=digits.preprocessing)
    negative = training.Split(split.images, np.asarray([0, -1, 1]))
    with pytest.raises(InputError, match=r"labels of 0 or more; received -1"):
        training.evaluate(ten_logits, negative, preprocessing=digits.preprocessing)
    with pytest.raises(InputError, match=r"7 logits and the data 10 classes"):
        training.evaluate(lambda batch: np.zeros((len(batch), 7)), digits)
    with pytest.raises(InputError, match=r"image 0 are not finite"):
        training.evaluate(lambda batch: np.full((len(batch), 10), np.nan), digits)


def test_data_whose_classes_have_other_names_is_refused(digits):
    clothes = [f"coat {number}" for number in range(10)]
    with pytest.raises(InputError, match=r"digits has the classes 0, 1, 2, 3, \.\.\. \(10\) and "):
        training.evaluate(ten_logits, digits, labels=clothes)
    with pytest.raises(InputError, match="accepted is data with the model's own classes"):
        training.evaluate(ten_logits, digits, labels=digits.labels[::-1])
    for names in (None, (), list(digits.labels)):
        assert training.evaluate(ten_logits, digits, labels=names).count == 359
    nameless = digits.test  # a split has no names: the model's are told
    measured = training.evaluate(
        ten_logits, nameless, preprocessing=digits.preprocessing, labels=clothes
    )
    assert list(measured.per_class) == clothes


def some_answers(truth, predicted, classes, *, strength=2.0, names=None):
    """Answers on tiny images whose highest logits are these."""
    truth, predicted = np.array(truth), np.array(predicted)
    logits = np.zeros((len(truth), classes))
    logits[np.arange(len(truth)), predicted] = strength
    images = np.arange(len(truth) * 48, dtype=np.uint32).astype(np.uint8).reshape(-1, 4, 4, 3)
    labels = tuple(names or (f"class {number}" for number in range(classes)))
    return Answers(training.Split(images, truth), labels, logits)


def test_of_a_split_larger_than_the_memory_some_images_are_taken(capsys, monkeypatch, digits):
    preprocessing = digits.preprocessing
    monkeypatch.setattr(learning, "MEMORY", 10 * 32 * 32 * 3 * 4 + 1)  # ten images, as float32
    preprocessing = preprocessing.model_copy(update={"size": (32, 32)})
    images, labels = learning.test_split("digits", None, preprocessing)
    assert images.shape == (10, 32, 32, 3) and images.dtype == np.float32
    assert labels.shape == (10,)
    told = capsys.readouterr().err
    assert told.startswith("digits: 10 of 359 test images are taken, drawn by chance; all would")
    again, _ = learning.test_split("digits", None, preprocessing)
    np.testing.assert_array_equal(again, images)


def test_the_most_frequent_confusions_come_first():
    found = some_answers([0, 0, 0, 1, 1, 2], [1, 1, 2, 0, 1, 2], 4).metrics()
    assert found.confusions() == [
        ("class 0", "class 1", 2),
        ("class 0", "class 2", 1),
        ("class 1", "class 0", 1),
    ]
    assert found.confusions(1) == [("class 0", "class 1", 2)]
    assert found.per_class["class 3"] is None
    assert found.per_class_intervals["class 3"] is None


def test_the_most_confident_mistakes_come_first():
    strengths = np.array([1.0, 3.0, 2.0, 5.0])
    found = some_answers([0, 1, 2, 1], [1, 0, 0, 1], 3, strength=strengths).mistakes()
    assert [mistake.position for mistake in found] == [1, 2, 0]  # the last image is right
    first = found[0]
    assert (first.truth, first.predicted) == ("class 1", "class 0")
    # Softmax of (3, 0, 0), in float64: a few roundings.
    assert first.confidence == pytest.approx(np.exp(3) / (np.exp(3) + 2), rel=1e-14)
    assert first.truth_probability == pytest.approx(1 / (np.exp(3) + 2), rel=1e-14)
    assert len(some_answers([0] * 20, [1] * 20, 2).mistakes(5)) == 5


def shown(thing, *, width, terminal=False):
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, force_terminal=terminal, color_system=None, soft_wrap=True
    )
    console.print(thing(console))
    return stream.getvalue()


def test_the_matrix_on_the_terminal_marks_its_diagonal():
    truth = [0] * 100 + [1] * 10 + [2]
    predicted = [0] * 97 + [1] * 3 + [1] * 10 + [0]
    found = some_answers(truth, predicted, 3, names=("cat", "dog", "bird")).metrics()
    lines = shown(lambda console: confusion(found, console), width=80).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["0", "1", "2"],
        ["0", "cat", "[97]", "3", "·"],
        ["1", "dog", "·", "[10]", "·"],
        ["2", "bird", "1", "·", "[·]"],
    ]
    assert len({len(line.rstrip()) for line in lines[2:]}) == 1


@pytest.mark.parametrize(
    ("width", "terminal", "words"),
    [
        (200, True, "in images"),
        (70, False, "in images"),  # a file takes any width
        (116, True, "percent of each true class"),
        (60, True, "the most frequent confusions"),
    ],
)
def test_the_matrix_fits_the_terminal_or_gives_way(width, terminal, words):
    truth = np.repeat(np.arange(20), 1000)
    predicted = np.where(np.arange(len(truth)) % 10 == 0, (truth + 1) % 20, truth)
    found = some_answers(truth, predicted, 20).metrics()
    text = shown(lambda console: confusion(found, console), width=width, terminal=terminal)
    assert words in text.replace("\n", " ")
    assert "…" not in text
    if terminal:
        assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    if "in images" in words:
        assert text.count("[900]") == 20


def test_of_many_classes_the_hardest_and_the_confusions_are_told():
    truth = np.repeat(np.arange(30), 10)
    predicted = truth.copy()
    predicted[[0, 1, 2, 50]] = [7, 7, 8, 9]
    found = some_answers(truth, predicted, 30).metrics()
    lines = dict(measured(found))
    assert lines["hardest classes"] == "10 of 30"
    assert lines["  class 0"].startswith("70.00 % (95 % interval ")
    assert list(lines)[4:6] == ["  class 0", "  class 5"]
    text = shown(lambda console: confusion(found, console), width=80)
    assert " ".join(text.split()) == (
        "the most frequent confusions true class taken for images "
        "class 0 class 7 2 class 0 class 8 1 class 5 class 9 1"
    )
    assert "nothing was confused" in shown(
        lambda console: confusion(some_answers(truth, truth, 30).metrics(), console), width=80
    )


def open_image(address: str) -> PIL.Image.Image:
    kind, _, data = address.partition(",")
    assert kind == "data:image/png;base64"
    return PIL.Image.open(io.BytesIO(base64.b64decode(data)))


def test_the_page_shows_matrix_classes_and_mistakes():
    found = some_answers([0, 0, 1, 1, 1], [0, 1, 1, 1, 0], 3, names=("cat", HOSTILE, "bird"))
    html = page("tiny.digits", "digits", found)
    Page(html).check()
    assert "<script" not in html
    content = Content(html)
    matrix, confusions, classes = content.tables
    assert matrix[0] == ["true class", "cat", HOSTILE, "bird"]
    assert [row[1:] for row in matrix[1:]] == [["1", "1", "0"], ["1", "2", "0"], ["0", "0", "0"]]
    assert confusions[1:] == [["cat", HOSTILE, "1"], [HOSTILE, "cat", "1"]]
    assert classes[1] == ["cat", "50.00 %", "9.5 to 90.5", "2"]  # wilson(1, 2)
    assert classes[3] == ["bird", "none", "", "0"]
    assert all(header["scope"] in ("col", "row") for header in content.headers)
    assert [image["alt"] for image in content.images] == [
        f"Test image 1: cat, taken for {HOSTILE}",
        f"Test image 4: {HOSTILE}, taken for cat",
    ]
    pixels = np.asarray(open_image(content.images[0]["src"]))
    np.testing.assert_array_equal(pixels, found.split.images[1])
    assert "60.00 %" in html


def test_of_many_classes_the_page_has_a_picture_of_the_matrix():
    truth = np.repeat(np.arange(50), 2)
    predicted = truth.copy()
    predicted[1] = 49
    content = Content(page("n", "d", some_answers(truth, predicted, 50)))
    assert content.tables[0][1] == ["class 0", "class 49", "1"]
    picture, thumbnail = content.images
    assert "50 classes" in picture["alt"]
    pixels = np.asarray(open_image(picture["src"]))
    assert pixels.shape == (500, 500, 3)
    cells = pixels[5::10, 5::10].sum(axis=-1).astype(int)
    assert cells[3, 3] < cells[0, 0] == cells[0, 49] < cells[3, 4] == 3 * 255
    assert thumbnail["alt"] == "Test image 1: class 0, taken for class 49"


def test_large_images_are_made_small_and_no_mistake_is_no_section():
    large = some_answers([0], [1], 2)
    large = Answers(
        training.Split(np.zeros((1, 300, 400, 3), np.uint8), large.split.labels),
        large.labels,
        large.logits,
    )
    (image,) = Content(page("n", "d", large)).images
    assert open_image(image["src"]).size == (192, 144)
    perfect = page("n", "d", some_answers([0, 1], [0, 1], 2))
    assert "Nothing was confused" in perfect
    assert "Most confidently wrong" not in perfect


@pytest.fixture
def weights(recipe, digits, tmp_path):
    """A file of a model that knows nothing, with its card."""
    model = zoo.create_model("tiny", input_shape=(8, 8, 3))
    path = keras_files.save(model, tmp_path / "run" / "model.keras")
    card = make_card(recipe, sha=sha256(path), preprocessing=digits.preprocessing)
    card.write(path.parent / "card.json")
    return path


def test_the_command_shows_stores_and_writes_a_page(capsys, weights, digits, tmp_path):
    before = zoo.Card.read(weights.parent / "card.json")
    page_path = tmp_path / "report.html"
    command = ["evaluate", str(weights), "--data", "digits", "--report", str(page_path)]
    assert run([*command, "--write-card"]) == 0
    text = capsys.readouterr().out
    found = training.evaluate(keras_files.load(weights), digits)
    assert f"{100 * found.accuracy:.2f} % (95 % interval" in text
    for number, row in enumerate(found.confusion):
        assert f"[{row[number] or '·'}]" in text
    html = page_path.read_text()
    Page(html).check()
    assert len(Content(html).images) == 12
    after = zoo.Card.read(weights.parent / "card.json")
    assert before.model_copy(update={"evaluations": after.evaluations}) == after
    stored = after.evaluations["digits"]
    assert (stored.accuracy, stored.low, stored.high) == (found.accuracy, *found.interval)
    assert stored.images == 359
    assert len(stored.date) == len("2026-01-01")


def test_the_document_has_every_number(capsys, weights):
    assert run(["evaluate", str(weights), "--data", "digits", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sum(map(sum, told["confusion"])) == told["count"] == 359
    assert list(told["per_class_intervals"]) == list(told["per_class"])
    assert "card" not in told and "report" not in told


@pytest.mark.parametrize("name", ["model.onnx", "resnet20.digits", "folded.keras"])
def test_only_a_file_of_ones_own_with_its_own_card_can_be_written(capsys, weights, name):
    path = weights.parent / name
    if path.suffix == ".keras":
        path.write_bytes(b"another file")
    before = (weights.parent / "card.json").read_bytes()
    what = name if name == "resnet20.digits" else str(path)
    assert run(["evaluate", what, "--data", "digits", "--write-card"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    accepted = (
        "is the card of another file" if path.suffix == ".keras" else "--write-card: accepted"
    )
    assert accepted in line and name in line
    assert (weights.parent / "card.json").read_bytes() == before


def test_a_report_that_cannot_be_written_is_told_before_the_work(capsys, weights, tmp_path):
    assert run(["evaluate", str(weights), "--data", "digits", "--report", "x.txt"]) == 2
    assert "ends in .html; received x.txt" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "x.html"
    assert run(["evaluate", str(weights), "--data", "digits", "--report", str(inside)]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_measurement_out_of_its_range_is_no_card(weights):
    path = weights.parent / "card.json"
    values = json.loads(path.read_text())
    values["evaluations"] = {
        "digits": {
            "accuracy": 1.5,
            "low": 0.0,
            "high": 1.0,
            "loss": 0.1,
            "images": 1,
            "date": "2026-01-01",
        }
    }
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"is not a card: .*accuracy"):
        zoo.Card.read(path)


@pytest.mark.slow
def test_a_real_browser_shows_the_page_without_complaint(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page("n", "d", some_answers([0, 0, 1], [0, 1, 1], 2)), encoding="utf-8")
    assert "Most confidently wrong" in browse(path, tmp_path)


def test_what_another_card_measures_is_not_stored(capsys, weights, tmp_path, recipe, digits):
    other = digits.preprocessing.replace(scale=1.0)
    card = make_card(recipe, sha="0" * 64, preprocessing=other).write(tmp_path / "other.json")
    before = (weights.parent / "card.json").read_bytes()
    command = ["evaluate", str(weights), "--data", "digits", "--card", str(card), "--write-card"]
    assert run(command) == 2
    assert "accepted is either --card or --write-card" in capsys.readouterr().err
    assert (weights.parent / "card.json").read_bytes() == before
