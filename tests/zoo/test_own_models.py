"""Models and weights of a user's own."""

import importlib
import os
import shutil
import sys
from pathlib import Path

import pytest

import zoo
from zoo import pretrained, registry
from zoo.cards import CARD_FILE, Card

GUIDE = Path(zoo.__file__).parent.parent / "docs" / "add-a-model.md"


@pytest.fixture
def own(monkeypatch, tmp_path):
    """The guide's file, found through the environment."""
    text = GUIDE.read_text(encoding="utf-8")
    path = tmp_path / "tiny_family.py"
    path.write_text(text.partition("```python\n")[2].partition("```")[0], encoding="utf-8")
    monkeypatch.setenv(registry.FAMILIES_VARIABLE, str(path))
    yield path
    registry._MODELS.pop("tiny", None)
    forget()


def forget() -> None:
    """Have the files of one's own read anew."""
    for name in [name for name in sys.modules if name.startswith("foldzoo_family_")]:
        del sys.modules[name]


def test_the_guides_model_is_one_like_the_others(own):
    assert "tiny" in zoo.list_models()
    model = zoo.create_model("tiny", norm="group", input_shape=(8, 8, 3))
    assert model.output_shape == (None, 10)
    maps = zoo.create_model("tiny", features_only=True).output
    assert list(maps) == ["stride_1"]
    assert zoo.list_models("tiny") == ["tiny"]  # read once


def test_weights_load_by_the_path_of_their_folder(tmp_path):
    folder = pretrained.folder("resnet20.digits")
    copied = tmp_path / "elsewhere"
    shutil.copytree(folder, copied)
    assert zoo.card(copied) == Card.read(folder / CARD_FILE)
    assert zoo.load_model(copied).output_shape == (None, 10)
    with pytest.raises(zoo.InputError, match=r"a folder with a card\.json"):
        zoo.load_model(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "accepted are Python files"),
        ("x = (", r"broken_family\.py cannot be imported: SyntaxError"),
        ("import no_such", r"broken_family\.py cannot be imported: .*no_such"),
        ("1 / 0", r"broken_family\.py cannot be imported: ZeroDivisionError: division"),
        ("raise SystemExit(3)", r"broken_family\.py cannot be imported: SystemExit: 3"),
        (
            "import zoo\nzoo.register_model(input_shape=(8, 8, 3), num_classes=2, paper=None)",
            r"broken_family\.py cannot be imported: paper: accepted is",
        ),
    ],
)
def test_a_file_that_is_no_family_is_refused(monkeypatch, tmp_path, text, words):
    path = tmp_path / "broken_family.py"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv(registry.FAMILIES_VARIABLE, str(path))
    with pytest.raises(zoo.InputError, match=words):
        zoo.list_models()
    assert not [name for name in sys.modules if name.startswith("foldzoo_family_broken")]


ONE = """
import zoo
from zoo import blocks

@zoo.register_model(input_shape=(8, 8, 3), num_classes=2, paper="none")
def {name}(options):
    image = blocks.image(options)
    x = blocks.conv_norm_act(image, 8, 3, norm=options.norm, name="stem")
    return blocks.model(options, image, {{1: x}}, name="{name}")
"""


@pytest.mark.parametrize("first", ["imported", "listed"])
def test_a_file_may_be_imported_and_listed(monkeypatch, own, tmp_path, first):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    monkeypatch.syspath_prepend(str(link))
    if first == "listed":
        zoo.list_models()
    try:
        importlib.import_module(own.stem)
        assert "tiny" in zoo.list_models()
        assert zoo.create_model("tiny").output_shape == (None, 10)
    finally:
        sys.modules.pop(own.stem, None)


@pytest.fixture
def two(monkeypatch, tmp_path):
    """Two files of one name in two folders, in the environment."""
    paths = [tmp_path / part / "mine.py" for part in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
    monkeypatch.setenv(registry.FAMILIES_VARIABLE, os.pathsep.join(map(str, paths)))
    yield paths
    for name in ("first", "second"):
        registry._MODELS.pop(name, None)
    forget()


def test_two_files_of_one_name_are_two(two):
    for path, name in zip(two, ("first", "second"), strict=True):
        path.write_text(ONE.format(name=name))
    assert {"first", "second"} <= set(zoo.list_models())
    assert {"first", "second"} <= set(zoo.list_models())


def test_a_name_that_two_files_have_is_refused_and_both_are_named(two):
    for path in two:
        path.write_text(ONE.format(name="first"))
    with pytest.raises(zoo.InputError, match="named 'first' is registered already") as caught:
        zoo.list_models()
    assert all(str(path) in str(caught.value) for path in two)
