"""Models and weights of a user's own."""

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
    sys.modules.pop("foldzoo_family_tiny_family", None)


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
        ("x = (", "cannot be imported"),
        ("import no_such", "no_such"),
    ],
)
def test_a_file_that_is_no_family_is_refused(monkeypatch, tmp_path, text, words):
    path = tmp_path / "broken_family.py"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv(registry.FAMILIES_VARIABLE, str(path))
    with pytest.raises(zoo.InputError, match=words):
        zoo.list_models()
