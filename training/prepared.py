"""Sets of tensorflow-datasets, read from where they lie prepared: whole, or as they are stored."""

import math
import os
import socket
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import InputError, nearest

if TYPE_CHECKING:
    from training.data import Images, Raw
    from training.tfrecords import Records


def read_prepared(name: str, data_dir: str | None, memory: int) -> "Raw":
    """Read a set, after downloading and preparing it where it is not there yet.

    Args:
        name: Its name, for example ``cifar10``, also ``cifar10:3.0.2`` or ``cmaterdb/bangla``.
        data_dir: Where prepared sets lie; None for tensorflow-datasets' own default.
        memory: How many bytes a split may take that is read at once.

    Returns:
        Its train split and its test split, or the validation split where it has no test or no
        labels in it.

    Raises:
        InputError: As in `training.load_data`.
    """
    from training.data import Raw

    builder = _builder(name, data_dir)
    features = builder.info.features
    keys = set(features or ())
    if not {"image", "label"} <= keys or not hasattr(features["label"], "names"):
        raise InputError(
            f"{name} is not a set of labelled images; accepted is one with an image and a class "
            f"label; received features {', '.join(sorted(keys)) or 'none'}"
        )
    if not builder.is_prepared():
        _prepare(builder, name, data_dir)
    splits = builder.info.splits
    if "train" not in splits:
        raise InputError(f"{name} has no train split; received {', '.join(splits)}")
    notes = [f"tensorflow-datasets' {builder.info.full_name}"]
    test = None
    for split in (split for split in ("test", "validation") if split in splits):
        images, labels = _read(builder, split, memory)
        # Where the labels are secret, as of a competition, they are all -1.
        if len(labels) and labels.max() < 0:
            continue
        test = images, labels
        if split == "validation":
            notes.append("it has no labelled test split; its validation split was taken as test")
        break
    return Raw(
        train=_read(builder, "train", memory),
        test=test,
        labels=tuple(features["label"].names),
        notes=tuple(notes),
    )


def _builder(name: str, data_dir: str | None) -> Any:
    """Find a set by its name."""
    try:
        import tensorflow  # noqa: F401  tensorflow-datasets reads with it, on every Keras backend
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"{name} is read with tensorflow-datasets and TensorFlow, which are not both installed "
            f"here ({error}); install them, or take the dataset digits"
        ) from error
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        from training.data import SOURCES

        known = {*tfds.list_builders(with_community_datasets=False), *SOURCES}
        raise InputError(f"unknown dataset {name!r}; {nearest(name, known)}") from error
    # An unknown version or configuration; a package that the set needs, or a path, that is not
    # there.
    except (AssertionError, ValueError, ImportError, OSError) as error:
        raise InputError(f"dataset {name!r}: {_first_line(error)}") from error


def _prepare(builder: Any, name: str, data_dir: str | None) -> None:
    """Download and prepare a set, or say what to pass instead."""
    import tensorflow_datasets as tfds

    hint = (
        f"{name} is not prepared in {data_dir or 'the default data_dir'}; pass --data-dir with a "
        f"folder that holds {builder.info.full_name}, for example "
        f"--data-dir ~/tensorflow_datasets, or download it where there is a network"
    )
    if not _reachable(builder):
        raise InputError(f"{hint} (there is none here)")
    try:
        builder.download_and_prepare()
    # An AssertionError is how a set says that its files must be fetched by hand.
    except (OSError, AssertionError, tfds.download.DownloadError) as error:
        raise InputError(f"{hint} ({_first_line(error)})") from error


def _reachable(builder: Any) -> bool:
    """Say whether the hosts of a set's files may be reached.

    tensorflow-datasets tries a download again for several minutes before it gives up, which is
    no use where names cannot be resolved at all.
    """
    hosts = {urllib.parse.urlparse(url).hostname for url in builder.url_infos}
    if not hosts or urllib.request.getproxies():  # a proxy resolves the names itself
        return True
    return any(_resolves(host) for host in hosts if host)


def _resolves(host: str) -> bool:
    """Say whether a host's name has an address."""
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True


def _read(builder: Any, split: str, memory: int) -> "tuple[Images, np.ndarray]":
    """Read one split: an array where all images have one size and fit in, else records."""
    import tensorflow_datasets as tfds

    only = {"image": True, "label": True}
    decoders = tfds.decode.PartialDecoding(only)
    shape = builder.info.features["image"].shape
    count = builder.info.splits[split].num_examples
    if None not in shape and count * math.prod(shape) <= memory:
        whole = builder.as_dataset(split=split, decoders=decoders, batch_size=-1)
        arrays = tfds.as_numpy(whole)
        return _bytes(builder, arrays["image"]), arrays["label"]
    records = _records(builder, split)
    if records is not None:
        return records, records.labels
    stored = builder.info.splits[split].num_bytes
    if stored > memory:
        raise InputError(
            f"{builder.info.name} has {stored:,} bytes in its {split} split, which is too much to "
            f"be read at once; accepted are {memory:,} bytes, or a set that lies on a local disk "
            f"in TFRecord or ArrayRecord files; received {builder.data_dir}"
        )
    rows = list(tfds.as_numpy(builder.as_dataset(split=split, decoders=decoders)))
    images = [_bytes(builder, row["image"]) for row in rows]
    return images, np.asarray([row["label"] for row in rows])


def _records(builder: Any, split: str) -> "Records | None":
    """Find the images of a split where they are stored; None where that is not possible."""
    import tensorflow_datasets as tfds

    from training.tfrecords import ArrayRecords, TFRecords

    info, feature = builder.info, builder.info.features["image"]
    _check_kind(info.name, feature.np_dtype, feature.shape[-1])
    found, varied, grey = info.splits[split], None in feature.shape, feature.shape[-1] == 1
    called = f"{info.name}, {split} split"
    stored = info.file_format
    if stored is tfds.core.FileFormat.ARRAY_RECORD:
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        source = builder.as_data_source(split, deserialize_method=raw)
        return ArrayRecords(called, source, varied=varied, grey=grey)
    paths = [os.fspath(path) for path in found.filepaths]
    if stored is not tfds.core.FileFormat.TFRECORD or any("://" in path for path in paths):
        return None
    return TFRecords(called, paths, found.shard_lengths, varied=varied, grey=grey)


def _bytes(builder: Any, images: np.ndarray) -> np.ndarray:
    """Make sure that images have 8 bits and 1 or 3 channels."""
    _check_kind(builder.info.name, images.dtype, images.shape[-1])
    return images


def _check_kind(name: str, dtype: Any, channels: int) -> None:
    """Refuse images that have not 8 bits, or not 1 or 3 channels."""
    if dtype != np.uint8 or channels not in (1, 3):
        raise InputError(
            f"{name}: accepted are images of 8 bits with 1 or 3 channels; received {dtype} with "
            f"{channels}"
        )


def _first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
