import os
import subprocess
import sys
import tomllib

import numpy as np
import PIL.Image
import pytest

import training
import zoo
from training import data as data_module
from zoo import InputError, Preprocessing
from zoo.cli import run as command

from .pictures import CLASSES, fill, load, picture


@pytest.fixture
def whole(tmp_path):
    """Three classes of five images, without a test split."""
    return fill(tmp_path / "my pictures")


@pytest.fixture
def divided(tmp_path):
    """The same, with a test split of two images each."""
    fill(tmp_path / "set" / "train")
    fill(tmp_path / "set" / "test", 2)
    return tmp_path / "set"


@pytest.fixture
def streamed(monkeypatch):
    """Have room for nothing in memory."""

    def use(memory=0):
        monkeypatch.setattr(data_module, "MEMORY", memory)

    return use


def pixels(path):
    return np.asarray(PIL.Image.open(path))


def test_a_folder_without_splits_keeps_a_fifth_of_each_class(whole):
    data = load(whole)
    assert data.labels == CLASSES
    assert data.train.images.shape == (12, 8, 8, 3)
    assert list(np.bincount(data.train.labels)) == [4, 4, 4]
    assert list(np.bincount(data.test.labels)) == [1, 1, 1]
    files = {
        pixels(path).tobytes(): CLASSES.index(path.parent.name) for path in whole.glob("*/*.png")
    }
    for split in (data.train, data.test):
        for image, label in zip(split.images, split.labels, strict=True):
            assert files.pop(image.tobytes()) == label
    assert files == {}
    assert (load(whole).test.images == data.test.images).all()
    assert "a fixed fifth of each class" in data.notes[1]
    assert data.preprocessing.mean == data_module.channel_statistics(data.train.images)[0]


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_a_folder_with_splits_is_taken_as_divided(divided, name):
    (divided / "test").rename(divided / name)
    data = load(divided)
    assert list(np.bincount(data.train.labels)) == [5, 5, 5]
    assert list(np.bincount(data.test.labels)) == [2, 2, 2]
    assert (data.test.images[0] == pixels(divided / name / "ant" / "000.png")).all()
    assert any(f"{name} was taken as test" in note for note in data.notes) == (name != "test")


def test_a_folder_with_train_alone_has_its_fifth_too(divided):
    (divided / "test").rename(divided.parent / "elsewhere")
    assert (len(load(divided).train), len(load(divided).test)) == (12, 3)


def test_test_is_preferred_to_validation(divided):
    fill(divided / "val", 4)
    assert len(load(divided).test) == 6


def test_a_class_may_be_called_train(whole):
    (whole / "bee").rename(whole / "train")
    assert load(whole).labels == ("ant", "cat", "train")


def test_what_is_hidden_or_no_image_is_passed_over(whole):
    (whole / ".git").mkdir()
    (whole / "list.txt").write_text("ant bee")
    (whole / "ant" / ".DS_Store").write_text("x")
    (whole / "ant" / "Thumbs.db").write_text("x")
    data = load(whole)
    assert data.labels == CLASSES
    assert len(data.train) + len(data.test) == 15
    assert any("1 files in my pictures that are no images" in note for note in data.notes)


def test_links_and_inner_folders_are_followed(whole, tmp_path):
    outside = fill(tmp_path / "outside", 3, classes=["more"])
    (whole / "ant" / "linked").symlink_to(outside / "more")
    (whole / "dog").symlink_to(outside / "more")
    (whole / "bee" / "round").symlink_to(whole / "bee")
    data = load(whole)
    assert data.labels == (*CLASSES, "dog")
    counts = np.bincount(np.concatenate([data.train.labels, data.test.labels]))
    assert list(counts) == [8, 5, 5, 3]


def test_nothing_is_written(whole):
    before = sorted((path, path.stat().st_mtime_ns) for path in whole.rglob("*"))
    load(whole)
    assert sorted((path, path.stat().st_mtime_ns) for path in whole.rglob("*")) == before


def test_a_path_may_begin_at_home(whole, monkeypatch):
    monkeypatch.setenv("HOME", str(whole.parent))
    data = load("~/my pictures")
    assert data.name == "folder:~/my pictures"
    assert len(data.train) == 12


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".gif", ".webp", ".jpg", ".JPEG"])
def test_every_kind_of_file_is_read_as_a_card_reads_it(tmp_path, suffix):
    folder = fill(tmp_path / "set", suffix=suffix)
    data = load(folder)
    view = Preprocessing(size=(8, 8))
    expected = {view.read(path).tobytes() for path in folder.glob("*/*")}
    read = {image.tobytes() for split in (data.train, data.test) for image in split.images}
    assert read == expected


def test_orientation_palettes_alpha_and_grey(divided):
    ant = divided / "train" / "ant"
    image = picture(7)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held upright: to be shown turned clockwise
    image.save(ant / "000.png", exif=exif)
    image.convert("L").save(ant / "001.png")
    image.quantize(16).save(ant / "002.png")
    clear = image.copy()
    clear.putalpha(0)
    clear.save(ant / "003.png")
    deep = np.asarray(image)[..., 0].astype(np.uint16) * 257
    PIL.Image.fromarray(deep).save(ant / "004.png")
    images = load(divided).train.images
    assert (images[0] == np.rot90(np.asarray(image), -1)).all()
    assert (images[1] == np.asarray(image.convert("L"))[..., None]).all()
    assert (images[2] == np.asarray(image.quantize(16).convert("RGB"))).all()
    assert (images[3] == 255).all()  # what is transparent is laid on white
    assert (images[4] == np.asarray(image)[..., :1]).all()


def test_images_of_several_sizes_need_one_and_are_cut_in_their_centre(whole):
    wide = picture(3, 16, 32)
    wide.save(whole / "ant" / "000.png")
    with pytest.raises(InputError, match=r"several sizes, such as 8x8 and 16x32; pass image_size"):
        load(whole)
    data = load(whole, image_size=8)
    assert data.preprocessing.crop == 0.875
    # The largest square is 16x16 and its centre 14x14: rows from 1, columns from 9.
    cut = wide.resize((8, 8), PIL.Image.Resampling.BILINEAR, box=(9, 1, 23, 15))
    read = {image.tobytes() for split in (data.train, data.test) for image in split.images}
    assert np.asarray(cut).tobytes() in read
    # Those that have the size already are as they were.
    assert pixels(whole / "bee" / "000.png").tobytes() in read


def test_a_size_is_that_of_the_image_as_it_is_shown(tmp_path):
    folder = fill(tmp_path / "set", size=(6, 8))
    image = picture(1, 8, 6)
    exif = image.getexif()
    exif[0x0112] = 8
    image.save(folder / "ant" / "000.png", exif=exif)
    assert load(folder).train.images.shape[1:] == (6, 8, 3)


@pytest.mark.parametrize("memory", [0, 2**30])
def test_damaged_images_are_named_and_refused_or_left_out(whole, streamed, memory):
    streamed(memory)
    clean = load(whole)
    kept = {image.tobytes() for image in clean.test.images[:]}
    learned = [path for path in sorted(whole.glob("*/*")) if pixels(path).tobytes() not in kept]
    cut, other = learned[1], learned[5]
    cut.write_bytes(cut.read_bytes()[:-40])
    other.write_text("no image at all")
    with pytest.raises(InputError) as caught:
        load(whole, image_size=8)
    told = str(caught.value)
    assert "\n" not in told
    assert f"{cut} is not an image that can be read" in told
    assert "truncated" in told
    assert "(and 1 more of 12)" in told
    assert "skip_corrupt=true" in told
    data = load(whole, image_size=8, skip_corrupt=True)
    assert (len(data.train), len(data.test)) == (10, 3)
    assert "2 of 12 train images could not be read and were left out" in data.notes
    # All others stay in the part where they were.
    assert {image.tobytes() for image in data.test.images[:]} == kept
    assert data.train.images[:].shape == (10, 8, 8, 3)


def test_how_many_are_damaged_is_told(divided):
    for name in ("000", "001", "002"):
        (divided / "train" / "ant" / f"{name}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"ant/000\.png is not an image .*\(and 2 more of 15\)"):
        load(divided, image_size=8)
    data = load(divided, skip_corrupt=True)
    assert "3 of 15 train images could not be read and were left out" in data.notes
    for name in ("003", "004"):
        (divided / "train" / "ant" / f"{name}.png").write_bytes(b"")
    with pytest.raises(InputError, match="no train image of the class ant can be read"):
        load(divided, image_size=8, skip_corrupt=True)


def test_a_class_may_lack_test_images(divided):
    for path in (divided / "test" / "bee").iterdir():
        path.unlink()
    (divided / "test" / "bee").rmdir()
    assert list(np.bincount(load(divided).test.labels)) == [2, 0, 2]


def same(one, two):
    return all((x == y).all() for x, y in zip(one, two, strict=True))


def test_a_stream_gives_what_is_in_memory(divided, streamed, recipe):
    held = load(divided, image_size=6)
    streamed()
    stream = load(divided, image_size=6)
    assert not isinstance(stream.train.images, np.ndarray)
    assert stream.train.images.shape == held.train.images.shape
    assert stream.train.images.dtype == np.uint8
    assert (stream.train.images[:] == held.train.images).all()
    assert (stream.train.images[3] == held.train.images[3]).all()
    assert stream.preprocessing == held.preprocessing
    order = np.asarray([3, 0, 3])
    for split, other in ((stream.train, held.train), (stream.test, held.test)):
        assert (split.take(order).images[:] == other.images[order]).all()
        assert (split.take(order).labels == other.labels[order]).all()
    varied = training.Recipe.load(recipe, batch_size=4, augmentation={"pad_crop": 1, "flip": True})
    from training.batches import batches

    for first in (0, 2):
        one, two = (
            list(batches(data.train, varied, data.preprocessing, classes=3, epoch=1, first=first))
            for data in (held, stream)
        )
        assert len(one) == 3 - first
        assert all(same(x, y) for x, y in zip(one, two, strict=True))


def test_a_file_that_vanishes_meanwhile_is_named(divided, streamed):
    streamed()
    data = load(divided)
    (divided / "train" / "ant" / "000.png").unlink()
    with pytest.raises(InputError, match=r"there is no file .*ant/000\.png"):
        data.train.images[:4]


def test_a_training_on_a_stream_is_that_on_memory(divided, streamed, recipe, silent):
    chosen = training.Recipe.load(
        recipe, dataset=f"folder:{divided}", batch_size=4, name="tiny.set", holdout=0.2
    )
    held = training.train(chosen, progress=silent)
    streamed()
    stream = training.train(chosen, progress=silent)
    assert stream.card.labels == CLASSES
    assert stream.card.dataset == f"folder:{divided}"
    for one, two in zip(held.model.get_weights(), stream.model.get_weights(), strict=True):
        # The two runs may differ by rounding, as TensorFlow was in use before; not by more.
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)
    assert stream.card.metrics["test_images"] == 6


def test_a_model_is_measured_as_its_card_says(whole):
    card = Preprocessing(size=(4, 6), mean=(0.5,), std=(0.25,), channels=1, crop=0.5)
    data = load(whole, preprocessing=card, image_size=99)
    assert data.preprocessing == card
    assert data.test.images.shape == (3, 4, 6, 1)
    expected = {card.read(path).tobytes() for path in whole.glob("*/*.png")}
    assert {image.tobytes() for image in data.test.images} <= expected
    # The training images are not looked at.
    for path in whole.glob("*/*.png"):
        if card.read(path).tobytes() not in {image.tobytes() for image in data.test.images}:
            path.write_bytes(b"")
    assert len(load(whole, preprocessing=card).train) == 12


def test_the_commands_take_folders(divided, recipe, tmp_path, capsys):
    path = training.Recipe.load(
        recipe,
        dataset=f"folder:{divided}",
        batch_size=4,
        holdout=0.2,
        name="tiny.set",
        skip_corrupt=True,
    ).save(tmp_path / "recipe.toml")
    assert tomllib.loads(path.read_text())["skip_corrupt"] is True
    (divided / "test" / "ant" / "000.png").write_bytes(b"")
    run = tmp_path / "run"
    assert command(["train", str(path), "--out", str(run)]) == 0
    assert "1 of 6 test images could not be read and were left out" in (
        zoo.Card.read(run / "card.json").notes
    )
    evaluate = ["evaluate", str(run / "model.keras"), "--data", f"folder:{divided}"]
    assert command(evaluate) == 2
    assert "ant/000.png is not an image that can be read" in capsys.readouterr().err
    assert command([*evaluate, "--skip-corrupt"]) == 0
    told = capsys.readouterr().out
    assert "left out" in told
    assert "bee" in told


def test_a_folder_has_a_path():
    with pytest.raises(InputError, match="accepted is folder:PATH"):
        load("")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("~no-such-user/x", "home folder is not known"),
        ("a" * 300, "there is no such folder"),
        ("/dev/null/x", "there is no such folder"),
    ],
)
def test_a_path_that_cannot_be_one_is_told(path, words):
    with pytest.raises(InputError, match=words):
        load(path)


def test_recipes_take_any_path(recipe):
    for name in ("folder:~/my pictures", "folder:/a/b (1)/ü", "folder:C:\\data", "cmaterdb/bangla"):
        assert training.Recipe.load(recipe, [f"dataset={name}"]).dataset == name
    for name in ("folder:a\nb", "my pictures", ""):
        with pytest.raises(InputError, match="dataset"):
            training.Recipe.load(recipe, dataset=name)


WITHOUT_TENSORFLOW = """
import sys
import training
data = training.load_data(sys.argv[1])
print(data.train.images.shape, sorted({"tensorflow", "tensorflow_datasets"} & set(sys.modules)))
"""


def test_a_folder_needs_no_tensorflow(whole):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, f"folder:{whole}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    assert done.stdout.split("\n")[0] == "(12, 8, 8, 3) []", done.stderr
