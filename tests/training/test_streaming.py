import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import training
from training import data as data_module
from training import prepared
from training.streaming import Arrays, Stream, decode, hold, several_sizes, side_by_side
from training.tfrecords import TFRecords
from zoo import InputError, Preprocessing

tfds = pytest.importorskip("tensorflow_datasets")

COUNTS = {"train": 11, "test": 4}


def picture(seed, height, width, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def make(folder, *, varied=True, channels=3, file_format="tfrecord", labels=None, counts=COUNTS):
    """Prepare a small set of tensorflow-datasets: PNG files, names that lie before the image."""
    side = None if varied else 6
    features = tfds.features.FeaturesDict(
        {
            "file_name": tfds.features.Text(),
            "image": tfds.features.Image(shape=(side, side, channels), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
            "weights": tfds.features.Tensor(shape=(2,), dtype=np.float32),
        }
    )

    def example(split, index):
        height, width = (6 + index % 3, 6 + index % 2) if varied else (6, 6)
        return {
            "file_name": f"{split}-{index}" * (1 + 90 * (index % 2)),
            "image": picture(index + 100 * (split == "test"), height, width, channels),
            "label": (labels or {}).get(split, index % 3),
            "weights": [index, -1.0],
        }

    tfds.dataset_builders.store_as_tfds_dataset(
        name="little",
        version="1.0.0",
        data_dir=folder,
        features=features,
        split_datasets={
            split: [(f"{split}{index}", example(split, index)) for index in range(count)]
            for split, count in counts.items()
        },
        file_format=file_format,
    )
    return folder


@pytest.fixture
def streamed(monkeypatch):
    monkeypatch.setattr(data_module, "MEMORY", 0)


def expected(folder, split):
    """The images and labels as tensorflow-datasets reads them itself."""
    builder = tfds.builder("little", data_dir=folder)
    if builder.info.file_format is tfds.core.FileFormat.ARRAY_RECORD:
        rows = list(builder.as_data_source(split))
    else:
        rows = list(tfds.as_numpy(builder.as_dataset(split=split)))
    return [row["image"] for row in rows], [int(row["label"]) for row in rows]


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_prepared_set_is_read_as_tensorflow_datasets_reads_it(
    tmp_path, streamed, file_format, channels
):
    make(tmp_path, file_format=file_format, channels=channels)
    data = training.load_data("little", tmp_path, image_size=6)
    assert isinstance(data.train.images, Stream)
    assert data.labels == ("a", "b", "c")
    assert ("grey images, repeated on three channels" in data.notes) == (channels == 1)
    view = Preprocessing(size=(6, 6), crop=0.875)
    for split, part in (("train", data.train), ("test", data.test)):
        images, labels = expected(tmp_path, split)
        whole = decode(Arrays(images), view, np.arange(len(images)))
        assert (part.images[:] == whole).all()
        assert list(part.labels) == labels


def test_a_set_of_one_size_is_the_same_in_memory_and_streamed(tmp_path, monkeypatch):
    make(tmp_path, varied=False)
    held = training.load_data("little", tmp_path)
    monkeypatch.setattr(data_module, "MEMORY", 0)
    stream = training.load_data("little", tmp_path)
    assert isinstance(held.train.images, np.ndarray)
    assert (stream.train.images[:] == held.train.images).all()
    assert (stream.train.labels == held.train.labels).all()
    assert stream.preprocessing == held.preprocessing
    assert stream.preprocessing.crop == 0


def test_several_sizes_need_one(tmp_path):
    make(tmp_path)
    with pytest.raises(InputError, match=r"little has images of several sizes.*pass image_size"):
        training.load_data("little", tmp_path)
    data = training.load_data("little", tmp_path, image_size=7)
    assert data.train.images.shape == (11, 7, 7, 3)
    assert data.preprocessing.crop == 0.875


def test_a_model_is_evaluated_on_a_stream_as_on_an_array(tmp_path, streamed):
    make(tmp_path)
    data = training.load_data("little", tmp_path, image_size=6)

    def logits(batch):
        return batch.reshape(len(batch), -1)[:, :3].astype(np.float64)

    held = training.Split(data.test.images[:], data.test.labels)
    assert training.evaluate(logits, data, batch_size=3) == training.evaluate(
        logits, held, preprocessing=data.preprocessing, labels=data.labels, batch_size=4
    )


def test_a_test_split_whose_labels_are_secret_is_not_measured_on(tmp_path):
    counts = {**COUNTS, "validation": 5}
    make(tmp_path, labels={"test": -1}, counts=counts, varied=False)
    data = training.load_data("little", tmp_path)
    assert len(data.test) == 5
    assert any("its validation split was taken as test" in note for note in data.notes)


def test_labels_of_no_class_are_told(tmp_path):
    make(tmp_path, labels={"train": -1}, varied=False)
    with pytest.raises(InputError, match=r"labels from 0 to 2.*received -1 to -1 in the train"):
        training.load_data("little", tmp_path)


def shard(folder):
    (path,) = Path(folder).glob("little/*/*train*tfrecord*")
    return path


def test_damaged_files_are_told(tmp_path, streamed):
    make(tmp_path)
    path = shard(tmp_path)
    whole = path.read_bytes()
    for broken in (whole[:-3], whole[: len(whole) // 2], b"\xff" * 40, whole[:12] + b"\x0a" * 99):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"is damaged at record \d+ of 11; prepare"):
            training.load_data("little", tmp_path, image_size=6)
    first = 16 + int.from_bytes(whole[:8], "little")
    path.write_bytes(whole[first:])
    with pytest.raises(InputError, match=r"has 10 records; expected are 11"):
        training.load_data("little", tmp_path, image_size=6)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read: No such file"):
        training.load_data("little", tmp_path, image_size=6)


def test_a_damaged_image_in_a_record_is_named_or_left_out(tmp_path, streamed):
    make(tmp_path)
    path = shard(tmp_path)
    whole = path.read_bytes()
    begin = whole.index(b"\x89PNG")
    path.write_bytes(whole[:begin] + b"\0\0\0\0" + whole[begin + 4 :])
    data = training.load_data("little", tmp_path, image_size=6, skip_corrupt=True)
    assert len(data.train) == 10
    assert "1 of 11 train images could not be read and were left out" in data.notes
    with pytest.raises(InputError) as caught:
        training.load_data("little", tmp_path, image_size=6)
    told = str(caught.value)
    assert re.search(r"little, train split: image 0 is not an image that can be read", told)
    assert "BytesIO" not in told


def test_a_record_without_an_image_is_damaged(tmp_path):
    import tensorflow as tf

    example = tf.train.Example()
    example.features.feature["label"].int64_list.value.append(1)
    with tf.io.TFRecordWriter(str(tmp_path / "file")) as writer:
        writer.write(example.SerializeToString())
    with pytest.raises(InputError, match="is damaged at record 0 of 1"):
        TFRecords("mine", [str(tmp_path / "file")], [1], varied=True, grey=False)


def test_records_of_several_files_are_found(tmp_path):
    import tensorflow as tf

    png = tmp_path / "0.png"
    paths, images = [], []
    for number, count in enumerate((3, 1, 4)):
        paths.append(str(tmp_path / f"part{number}"))
        with tf.io.TFRecordWriter(paths[-1]) as writer:
            for index in range(count):
                images.append(picture(10 * number + index, 5, 5))
                PIL.Image.fromarray(images[-1]).save(png)
                example = tf.train.Example()
                feature = example.features.feature
                feature["image"].bytes_list.value.append(png.read_bytes())
                feature["label"].int64_list.value.append(len(images) * 1000)
                feature["box"].float_list.value.extend([0.5] * index)
                writer.write(example.SerializeToString())
    records = TFRecords("mine", paths, [3, 1, 4], varied=False, grey=False)
    assert list(records.labels) == [1000 * number for number in range(1, 9)]
    view = Preprocessing(size=(5, 5))
    assert all((records.read(i, view) == image).all() for i, image in enumerate(images))
    assert records.size(7) == (5, 5)


def test_what_cannot_be_read_at_random_must_be_small(tmp_path, streamed, monkeypatch):
    make(tmp_path)
    monkeypatch.setattr(prepared, "_records", lambda *args: None)
    with pytest.raises(InputError, match=r"little has [\d,]+ bytes.*accepted.*TFRecord or Array"):
        training.load_data("little", tmp_path, image_size=6)


def test_large_sets_in_memory_are_resized_on_demand(streamed):
    data = training.load_data("digits")
    assert isinstance(data.train.images, Stream)
    one = data.train.images[np.asarray([5, 2])]
    data_module.MEMORY = 2**30  # put back by the fixture
    assert (training.load_data("digits").train.images[[5, 2]] == one).all()


def test_statistics_of_a_large_stream_are_of_a_fixed_part(streamed, monkeypatch):
    whole = training.load_data("digits", image_size=16).preprocessing
    monkeypatch.setattr(data_module, "_STATISTICS_IMAGES", 700)
    part = training.load_data("digits", image_size=16).preprocessing
    assert part == training.load_data("digits", image_size=16).preprocessing
    assert part != whole
    # The mean of a digit varies by about 0.05: of 700, by 0.002; four of these.
    np.testing.assert_allclose(part.mean, whole.mean, rtol=0, atol=0.008)


def test_work_is_done_in_order_and_errors_are_passed_on():
    assert list(side_by_side(lambda number: number * 2, 3000)) == list(range(0, 6000, 2))

    def fails(number):
        if number == 2000:
            raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        list(side_by_side(fails, 3000))


def test_the_limit_is_of_decoded_images(images):
    view = Preprocessing(size=(4, 4))
    everything = np.arange(16)
    held, kept = hold(Arrays(images), everything, view, memory=16 * 48)
    assert isinstance(held, np.ndarray)
    stream, _ = hold(Arrays(images), everything, view, memory=16 * 48 - 1)
    assert isinstance(stream, Stream)
    assert (stream[:] == held).all()
    assert (kept == everything).all()


def test_sizes_are_looked_for_until_there_are_two(images):
    seen = []

    class Watched(Arrays):
        def size(self, position):
            seen.append(position)
            return super().size(position)

    assert several_sizes([Watched(images)]) == {(6, 5)}
    assert seen == [0]
    mixed = [images[0], images[1][:4], *images[2:]]
    assert several_sizes([Watched(mixed)]) == {(6, 5), (4, 5)}


def test_a_crop_is_part_of_a_card():
    card = json.loads(Preprocessing(size=(8, 8), crop=0.875).model_dump_json())
    assert Preprocessing(**card).crop == 0.875
    with pytest.raises(InputError, match=r"crop.*less than or equal to 1; received 1\.5"):
        Preprocessing(size=(8, 8), crop=1.5)


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (7, 100), (13, 13)])
@pytest.mark.parametrize("size", [(8, 8), (6, 12)])
def test_a_crop_keeps_the_shape_of_what_is_shown(shape, size):
    # Values rise by one from left to right, so a crop shows where it was taken.
    ramp = np.tile(np.arange(shape[1], dtype=np.uint8), (shape[0], 1))
    view = Preprocessing(size=size, channels=1, mean=(0.0,), std=(1.0,), crop=0.5)
    row = view.resize(PIL.Image.fromarray(ramp))[0, :, 0].astype(float)
    scale = 0.5 * min(shape[0] / size[0], shape[1] / size[1])
    left = (shape[1] - scale * size[1]) / 2
    places = left + scale * (np.arange(size[1]) + 0.5) - 0.5
    # Values are rounded, and at the edge of the crop a pixel is blended with inner ones only.
    np.testing.assert_allclose(row, places, rtol=0, atol=1.0)
