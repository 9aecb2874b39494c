"""Whether the preprocessing inside a file is that of the card, image by image."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export import onnx_checks, onnx_metadata, parity, pixels
from export.checks import Check
from export.errors import ExportError
from export.onnx_graph import shape_of
from export.onnx_runtime import LEVELS, Session
from export.subject import INPUT, Subject
from zoo.errors import InputError
from zoo.files import replacing
from zoo.preprocessing import Preprocessing

if TYPE_CHECKING:
    import onnx

# A value in the middle between two whole numbers may be rounded to either: Pillow sums in fixed
# point with 22 bits, a file in float32.
_LEVELS = 1
# Where the ratio of two sizes is a simple fraction, such as 7 to 4, a few percent of the values are
# such middles. To cut off instead of rounding would change half of all values.
_SHARE = 0.1


def with_preprocessing(path: Path) -> Path:
    """Put the preprocessing that a file tells inside it, in its place.

    Args:
        path: A file for preprocessed images.

    Returns:
        The path.

    Raises:
        InputError: The file does not tell its preprocessing.
        ExportError: What was put inside does something else, or onnxruntime refuses it.
    """
    proto = onnx_metadata.load(path)
    said = onnx_metadata.metadata_of(proto, path)
    made = said.get("preprocessing")
    if made is None:
        raise InputError("pixels: accepted with a preprocessing, as a card has it; there is none")
    preprocessing = Preprocessing(**made)
    whole = pixels.embedded(proto, preprocessing, nchw=said.get("layout") == "NCHW")
    for check in front_checks(pixels.front_of(whole), preprocessing):
        if not check.ok:
            raise ExportError(f"{path}: {check.name}: {check.measured}, accepted {check.limit}")
    with replacing(path) as beside:
        beside.write_bytes(whole.SerializeToString(deterministic=True))
    return path


def apart(
    proto: "onnx.ModelProto", given: Subject, metadata: Mapping[str, Any]
) -> "tuple[onnx.ModelProto, onnx.ModelProto]":
    """Take a file that a model was exported to apart; see `export.pixels.separated`."""
    nchw = metadata.get("layout") == "NCHW"
    return pixels.separated(proto, shape_of(INPUT, given.model.inputs[0].shape, nchw=nchw))


def checks(
    proto: "onnx.ModelProto",
    front: "onnx.ModelProto",
    reference: parity.Reference,
    preprocessing: Preprocessing,
) -> Iterator[Check]:
    """Check a file that takes pixels, beside what is checked of the rest of it.

    Args:
        proto: The whole file.
        front: Its preprocessing.
        reference: The model behind it.
        preprocessing: What the front should do.

    Yields:
        The checks; the last ones only where the file can be loaded.
    """
    yield from onnx_checks.sound(proto, "with its preprocessing")
    try:
        wholes = [Session(proto, level=level) for level in LEVELS]
        made = [_made(Session(front), preprocessing, size) for size in _sizes(preprocessing)]
    except ExportError as error:
        yield Check("loads with its preprocessing", False, "refused", "loaded", str(error))
        return
    yield Check("loads with its preprocessing", True, "loaded", "loaded")
    yield from _as_pillow(made, preprocessing)
    yield _answers(wholes, made, reference)


def front_checks(front: "onnx.ModelProto", preprocessing: Preprocessing) -> Iterator[Check]:
    """Check the preprocessing alone, where there is no model to ask.

    Raises:
        ExportError: onnxruntime refuses it.
    """
    session = Session(front)
    made = [_made(session, preprocessing, size) for size in _sizes(preprocessing)]
    yield from _as_pillow(made, preprocessing)


def _sizes(preprocessing: Preprocessing) -> list[tuple[int, int]]:
    """Choose sizes of images: the model's, smaller, larger, lying, standing, one pixel."""
    height, width = preprocessing.size
    return [
        (height, width),
        (height // 2 + 1, width // 2 + 1),
        (2 * height, 2 * width),
        (3 * height // 2 + 1, 7 * width // 4),
        (5 * height, width // 2 + 1),
        (1, 1),
    ]


def _made(
    front: Session, preprocessing: Preprocessing, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw two images of a size; return them, what the file makes of them and what Pillow makes."""
    import PIL.Image

    height, width = size
    random = np.random.default_rng(height * 65_537 + width)
    coarse = random.integers(
        0, 256, (2, height // 3 + 1, width // 3 + 1, preprocessing.channels), dtype=np.uint8
    )
    # Smooth surfaces and hard edges, as photographs have.
    images = coarse.repeat(3, axis=1).repeat(3, axis=2)[:, :height, :width]
    images[1] //= 2
    mode = "RGB" if preprocessing.channels == 3 else "L"
    pillow = [
        preprocessing.resize(PIL.Image.fromarray(np.squeeze(image, -1) if mode == "L" else image))
        for image in images
    ]
    (values,) = front.run([images])
    wanted = preprocessing(np.stack(pillow))
    same = values.shape == wanted.shape
    return images, values if same else np.moveaxis(values, 1, -1), wanted


def _as_pillow(
    made: list[tuple[np.ndarray, np.ndarray, np.ndarray]], preprocessing: Preprocessing
) -> Iterator[Check]:
    """Compare in levels of grey, of which a pixel has 256."""
    step = preprocessing.scale / np.asarray(preprocessing.std)
    worst, differing, total = 0.0, 0, 0
    for _, values, wanted in made:
        levels = np.abs(values - wanted) / step
        worst = max(worst, float(levels.max()))
        differing += int((levels > _LEVELS / 2).sum())
        total += levels.size
    detail = f"on images of {len(made)} sizes, against Pillow"
    # A thousandth: scaling and shifting round in float32.
    limit = _LEVELS + 1e-3
    yield Check("preprocessing, largest difference in levels", worst <= limit, worst, limit, detail)
    share = differing / total
    yield Check("preprocessing, share of other values", share <= _SHARE, share, _SHARE, detail)


def _answers(
    wholes: list[Session],
    made: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    reference: parity.Reference,
) -> Check:
    """Compare what the whole file says with what the model says of the file's own preprocessing."""
    worst, own = 0.0, 0.0
    for images, values, _ in made:
        answer = reference.answer([np.ascontiguousarray(values)])
        own = max(own, answer.own_error())
        for whole in wholes:
            worst = max(worst, answer.error(whole.run([images])))
    limit = parity.limit_for(own)
    detail = f"of the largest output, against float64, at {len(LEVELS)} levels of optimisation"
    return Check("parity with Keras from pixels", worst <= limit, worst, limit, detail)
