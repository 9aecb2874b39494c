"""What is no set of images is told in one line."""

import os

import pytest

from zoo import InputError

from .pictures import fill, load, picture


def nothing(root):
    root.mkdir()


def no_text(root):
    fill(root, classes=(os.fsdecode(b"caf\xe9"), "dog"))


def one_class(root):
    fill(root, classes=["ant"])


def images_alone(root):
    root.mkdir()
    picture(0).save(root / "0.png")


def empty_class(root):
    fill(root)
    (root / "dog").mkdir()


def no_train(root):
    fill(root / "test")
    fill(root / "val")


def new_class(root):
    fill(root / "train")
    fill(root / "test", classes=["ant", "dog"])


def a_file(root):
    root.write_text("x")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: None, "there is no such folder"),
        (a_file, "that is a file; accepted is a folder"),
        (nothing, "has no folder; accepted are two or more folders of images"),
        (images_alone, "has no folder"),
        (one_class, "has one class only, ant"),
        (no_text, r"class b'caf\\xe9', whose name is not UTF-8; accepted are names in UTF-8"),
        (empty_class, r"dog has no image; accepted are \.jpg"),
        (no_train, "has test, val and no train; accepted is .*/train/CLASS"),
        (new_class, "test has the class dog, which .*train lacks"),
    ],
)
def test_what_is_no_set_is_told_in_one_line(tmp_path, make, words):
    make(tmp_path / "set")
    with pytest.raises(InputError, match=words) as caught:
        load(tmp_path / "set")
    assert "\n" not in str(caught.value)
