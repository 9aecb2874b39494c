"""Where each image lies in the files of a prepared set, so that they can be read at random.

A TFRecord file is one record after the other: its length (8 bytes, little-endian), a checksum of
that (4), the data, a checksum of the data (4). The data is a ``tf.train.Example``. Here the lengths
in both are followed from one field to the next; the images in between are not read. ArrayRecord
files are read at random by their own library.

Reference:
    https://www.tensorflow.org/tutorials/load_data/tfrecord and
    https://protobuf.dev/programming-guides/encoding
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from training.streaming import side_by_side
from zoo.errors import InputError
from zoo.preprocessing import Preprocessing, image_size

_HEADER, _FOOTER = 12, 4  # bytes around a record's data
_WINDOW = 512  # bytes read at once while walking: the end of one record and the start of the next
_LONGEST = 10  # bytes of a varint
_FIXED = {1: 8, 5: 4}  # bytes of the kinds of numbers that are not one


class Records:
    """The images of one split of a prepared set; a `training.streaming.Encoded`.

    Args:
        name: What errors call it.
        varied: Whether the images may have several sizes.
        grey: Whether they have one channel.

    Attributes:
        labels: int64, (count,).
    """

    trusted = True
    labels: np.ndarray

    def __init__(self, name: str, *, varied: bool, grey: bool) -> None:
        self.name, self.varied, self.grey = name, varied, grey

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, position: int, view: Preprocessing) -> np.ndarray:
        """Decode one image; see `training.streaming.Encoded`."""
        return view.decode(io.BytesIO(self.file(position)), self._called(position))

    def size(self, position: int) -> tuple[int, int]:
        """Read the height and width of one image."""
        return image_size(io.BytesIO(self.file(position)), self._called(position))

    def file(self, position: int) -> bytes:
        """Read the bytes of one image's file."""
        raise NotImplementedError

    def _called(self, position: int) -> str:
        return f"{self.name}: image {position}"


class TFRecords(Records):
    """Images in TFRecord files.

    Args:
        name: What errors call it.
        paths: The files, on a local disk.
        lengths: How many records each has.
        varied: Whether the images may have several sizes.
        grey: Whether they have one channel.

    Raises:
        InputError: A file is missing or damaged, or has another number of records.
    """

    def __init__(
        self,
        name: str,
        paths: Sequence[str],
        lengths: Sequence[int],
        *,
        varied: bool,
        grey: bool,
    ) -> None:
        super().__init__(name, varied=varied, grey=grey)
        self._paths = tuple(paths)
        tables = list(
            side_by_side(lambda shard: _index(self._paths[shard], lengths[shard]), len(lengths))
        )
        self._first = np.concatenate([table[:, 0] for table in tables])
        self._last = np.concatenate([table[:, 1] for table in tables])
        self.labels = np.concatenate([table[:, 2] for table in tables])
        self._shard = np.repeat(np.arange(len(tables)), lengths)

    def file(self, position: int) -> bytes:
        """Read the bytes of one image's file."""
        path = self._paths[self._shard[position]]
        first, last = int(self._first[position]), int(self._last[position])
        try:
            # Opened each time: a set has more files than a process may keep open.
            with Path(path).open("rb", buffering=0) as file:
                file.seek(first)
                data = file.read(last - first)
        except OSError as error:
            raise InputError(f"{self._called(position)}: {error}") from error
        return data or b""


class ArrayRecords(Records):
    """Images in ArrayRecord files; to know their labels, each record is read once.

    Args:
        name: What errors call it.
        source: What gives the bytes of each record by its position.
        varied: Whether the images may have several sizes.
        grey: Whether they have one channel.
    """

    def __init__(self, name: str, source: Any, *, varied: bool, grey: bool) -> None:
        super().__init__(name, varied=varied, grey=grey)
        self._source = source
        self.labels = np.fromiter(side_by_side(self._label, len(source)), np.int64, len(source))

    def file(self, position: int) -> bytes:
        """Read the bytes of one image's file."""
        record, (first, last, _) = self._record(position)
        return record[first:last]

    def _label(self, position: int) -> int:
        return self._record(position)[1][2]

    def _record(self, position: int) -> tuple[bytes, tuple[int, int, int]]:
        record = bytes(self._source[position])
        try:
            return record, _row(_Window(io.BytesIO(record)), 0, len(record))
        except (EOFError, ValueError, KeyError) as error:
            raise InputError(f"{self._called(position)}: the record is damaged") from error


class _Window:
    """The bytes of a file, a few hundred at a time."""

    def __init__(self, file: BinaryIO | io.FileIO) -> None:
        self._file, self._start, self._data = file, 0, b""

    def take(self, at: int, size: int) -> bytes:
        """Return the bytes from a place on.

        Raises:
            EOFError: The file ends before.
        """
        data = self.upto(at, size)
        if len(data) < size:
            raise EOFError
        return data

    def upto(self, at: int, size: int) -> bytes:
        """Return the bytes from a place on, fewer at the end of the file."""
        begin = at - self._start
        if begin < 0 or begin + size > len(self._data):
            self._file.seek(at)
            self._start, begin = at, 0
            self._data = self._file.read(max(size, _WINDOW)) or b""
        return self._data[begin : begin + size]


def _index(path: str, count: int) -> np.ndarray:
    """Find the images of one file: where each begins and ends, and its label, (count, 3)."""
    rows = []
    try:
        with Path(path).open("rb", buffering=0) as file:
            end = file.seek(0, io.SEEK_END)
            window, at = _Window(file), 0
            while at < end:
                first = at + _HEADER
                last = first + int.from_bytes(window.take(at, 8), "little")
                if last + _FOOTER > end:
                    raise EOFError
                rows.append(_row(window, first, last))
                at = last + _FOOTER
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (EOFError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is damaged at record {len(rows)} of {count}; prepare the set again"
        ) from error
    if len(rows) != count:
        raise InputError(
            f"{path} has {len(rows)} records; expected are {count}; prepare the set again"
        )
    return np.asarray(rows, np.int64).reshape(-1, 3)


def _row(window: _Window, first: int, last: int) -> tuple[int, int, int]:
    """Find where the image of an Example begins and ends, and its label."""
    fields = _features(window, first, last)
    return (*fields[b"image"], _number(window, fields[b"label"][0]))


def _features(window: _Window, first: int, last: int) -> dict[bytes, tuple[int, int]]:
    """Find the first value of each feature of an Example: where it begins and ends."""
    found = {}
    for _, features, features_end in _fields(window, first, last):
        for _, entry, entry_end in _fields(window, features, features_end):
            # An entry of a map is a message of its key, number 1, and its value, number 2.
            parts = {
                number: (begin, end) for number, begin, end in _fields(window, entry, entry_end)
            }
            begin, end = parts[1]
            key = window.take(begin, end - begin)
            for _, values, values_end in _fields(window, *parts[2]):
                value = next(_fields(window, values, values_end), None)
                if value is not None:
                    found[key] = value[1:]
    return found


def _fields(window: _Window, first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Go through the fields of a message: number, where its content begins, where it ends."""
    at = first
    while at < last:
        tag, at = _varint(window, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            begin, end = at, _varint(window, at)[1]
        elif kind == 2:
            size, begin = _varint(window, at)
            end = begin + size
        elif kind in _FIXED:
            begin, end = at, at + _FIXED[kind]
        else:
            raise ValueError(kind)
        if end > last:
            raise EOFError
        yield number, begin, end
        at = end


def _number(window: _Window, at: int) -> int:
    """Read an int64, which is written as its two's complement of 64 bits."""
    value, _ = _varint(window, at)
    return value - (1 << 64) if value >> 63 else value


def _varint(window: _Window, at: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, the lowest first; return it and where it ends."""
    value = 0
    for place, byte in enumerate(window.upto(at, _LONGEST)):
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    raise EOFError
