"""The page of a fold, and its picture: all that happened is there, in its place, escaped."""

import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers

import export
from export import fold_report, graph_reading
from export.checks import Check
from export.graph_picture import BOX_HEIGHT, BOX_WIDTH, picture

from .models import randomize, resnet
from .pages import HOSTILE, Page, browse


@pytest.fixture(scope="module")
def made() -> SimpleNamespace:
    """A ResNet after activation: one BatchNorm is kept, others go both ways and leave maps."""
    model = resnet(placement="after_activation")
    model.get_layer("stage1_block1_1_norm").gamma.assign([0, 1, 1, 1, 1, 1, 1, 900])
    folded = export.fold(model)
    return SimpleNamespace(model=model, folded=folded, page=fold_report.page(model, folded))


def boxes(page: str) -> dict[str, list[tuple[str, int]]]:
    """Return, by name, the mark and height of each box."""
    found: dict[str, list[tuple[str, int]]] = {}
    pattern = r'<g(?: class="(\w+)")? transform="translate\(\d+ (\d+)\)"><title>([^,]+),'
    for mark, y, name in re.findall(pattern, page):
        found.setdefault(name, []).append((mark, int(y)))
    return found


def test_the_page_is_well_formed_and_self_contained(made):
    Page(made.page).check()


def test_every_batchnorm_has_its_row(made):
    for entry in made.folded.report.entries:
        assert entry.layer.replace("_", "_<wbr>") in made.page
    (kept,) = made.folded.report.kept
    assert kept.reason in made.page
    assert (
        f'<a class="name" href="#batchnorm-1">{kept.layer.replace("_", "_<wbr>")}</a>' in made.page
    )


def test_a_large_scale_is_marked_and_dead_channels_are_counted(made):
    assert made.page.count('class="right huge"') == 1
    assert "1 of 100 or more" in " ".join(made.page.split())
    plain = resnet()
    assert 'class="right huge"' not in fold_report.page(plain, export.fold(plain))


def test_the_pictures_tell_what_became_of_each_layer(made):
    found = boxes(made.page)
    for entry in made.folded.report.entries:
        marks = [mark for mark, _ in found[entry.layer]]
        assert marks == [entry.action] * (2 if entry.action == "kept" else 1)
        for name in entry.into:
            assert [mark for mark, _ in found[name]] == ["", "changed"]
    assert [mark for mark, _ in found["stage1_block1_2_conv_bias_map"]] == ["new"]


def test_what_stayed_is_at_the_same_height(made):
    both = [heights for heights in boxes(made.page).values() if len(heights) == 2]
    assert len(both) > 50
    assert all(before == after for (_, before), (_, after) in both)


def test_the_certificate_is_told_where_there_is_one(made):
    assert "Nothing was checked" in made.page
    certificate = export.Certificate((Check("algebra", False, 0.5, 1e-12, HOSTILE),), algebra=0.5)
    page = fold_report.page(made.model, made.folded, certificate=certificate, name=HOSTILE)
    assert "1 of 1 checks fails: algebra" in " ".join(page.split())
    assert "<script" not in page


def test_preprocessing_and_several_calls_and_outputs_are_drawn():
    image = keras.Input((6, 6, 3), name="image")
    conv, norm = layers.Conv2D(2, 3, name="conv"), layers.BatchNormalization(name="norm")
    x = layers.Rescaling(1 / 255, name="scaling")(image)
    twice = [norm(conv(x)), norm(conv(layers.UpSampling2D()(x)))]
    model = randomize(keras.Model(image, [layers.ReLU()(y) for y in twice]))
    page = fold_report.page(model, export.fold(model, preprocessing=True))
    found = boxes(page)
    assert [mark for mark, _ in found["norm"]] == ["folded_backward"] * 2
    assert [mark for mark, _ in found["conv"]] == ["", "", "changed", "changed"]
    assert [mark for mark, _ in found["scaling"]] == ["folded_forward"]
    Page(page).check()


def test_a_model_without_batchnorm_has_a_page_too():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    page = fold_report.page(model, export.fold(model))
    assert "The model has no BatchNorm" in page
    Page(page).check()


def branching() -> keras.Model:
    """Branches of different lengths, shortcuts and a layer far below what it takes."""
    x = image = keras.Input((4,))
    for depth in range(4):
        branches = [x]
        for length in range(depth + 1):
            y = x
            for _ in range(length + 1):
                y = layers.Dense(4)(y)
            branches.append(y)
        x = layers.Add()(branches)
    return keras.Model(image, layers.Concatenate()([x, image]))


@pytest.mark.parametrize("make", [branching, resnet])
def test_boxes_do_not_overlap_and_lines_lead_down(make):
    read = graph_reading.read(make())
    drawn = picture(read, {})
    assert len(drawn.boxes) == len(read.calls)
    for box in drawn.boxes:
        assert BOX_WIDTH / 2 <= box.x <= drawn.width - BOX_WIDTH / 2
        assert 0 <= box.y <= drawn.height - BOX_HEIGHT
    for row in {box.y for box in drawn.boxes}:
        across = np.diff(sorted(box.x for box in drawn.boxes if box.y == row))
        assert np.all(across > BOX_WIDTH)
    # Each call is below all that it takes.
    heights = {call: box.y for call, box in zip(read.calls, drawn.boxes, strict=True)}
    for call in read.calls:
        for tensor in call.inputs:
            assert heights[tensor.call] + BOX_HEIGHT < heights[call]


def test_a_chain_is_straight():
    """The shortcuts of a ResNet do not bend what they pass."""
    model = resnet(placement="pre_activation")
    stage = [box.x for box in picture(graph_reading.read(model), {}).boxes if "stage1_" in box.name]
    assert len(set(stage)) == 1


def ends(path: str) -> set[tuple[float, float]]:
    """Return every point that a line comes to."""
    points, x = set(), 0.0
    for letter, words in re.findall(r"([MCV])([^MCV]+)", path):
        numbers = [float(word) for word in words.split()]
        x = x if letter == "V" else numbers[-2]
        points.add((x, numbers[-1]))
    return points


@pytest.mark.parametrize("make", [branching, resnet])
def test_a_line_goes_from_the_box_that_makes_to_all_that_take(make):
    read = graph_reading.read(make())
    drawn = picture(read, {})
    place = {call: (box.x, box.y) for call, box in zip(read.calls, drawn.boxes, strict=True)}
    tensors = [tensor for call in read.calls for tensor in call.outputs]
    for tensor, line in zip(tensors, drawn.lines, strict=True):
        x, y = place[tensor.call]
        assert line.startswith(f"M{x} {y + BOX_HEIGHT}")
        assert {place[user] for user in tensor.users} <= ends(line)


@pytest.mark.slow
def test_a_real_browser_shows_it_without_complaint(made, tmp_path):
    path = tmp_path / "fold.html"
    path.write_text(made.page, encoding="utf-8")
    assert "18 folded, 1 kept" in browse(path, tmp_path)
