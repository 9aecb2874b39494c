"""The weights of keras.applications: where their files are, and how ours take them over.

One TOML file in ``zoo/official`` for each family; its tables are named as the weights are, and what
stands above them holds for all.
"""

import functools
import tomllib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from zoo import downloads, imagenet, matching
from zoo.cards import Card, Origin
from zoo.errors import InputError
from zoo.files import sha256
from zoo.norm import Norm
from zoo.preprocessing import Interpolation, Part, Preprocessing
from zoo.registry import Padding, Size, create_model, entries
from zoo.settings import Number, Settings

if TYPE_CHECKING:
    import keras

FOLDER = Path(__file__).parent / "official"

# How a pixel's value is scaled and shifted, by the name that keras.applications has for it.
_MODES: dict[str, dict[str, Any]] = {
    "caffe": {"order": "bgr", "scale": 1.0, "mean": (103.939, 116.779, 123.68)},
    "tf": {"scale": 1 / 127.5, "mean": (1.0, 1.0, 1.0)},
    "tf128": {"scale": 1 / 128, "mean": (1.0, 1.0, 1.0)},  # of EfficientNetV2 S, M and L
    "torch": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
}
Mode = Literal["caffe", "tf", "tf128", "torch"]
Percent = Annotated[Number, pydantic.Field(ge=0, le=100)]


class Official(Settings):
    """One file of weights that keras.applications publishes.

    Args:
        application: The function of keras.applications that builds its network.
        arguments: What it takes besides the weights and the width.
        origin: The address of the folder that the file lies in.
        file: The file's name.
        digest: Its published hash, ``md5:`` or ``sha256:`` and digits; empty where there is none.
        norm: The normalization.
        mode: The name that keras.applications has for its preprocessing.
        size: The side of the images, in pixels.
        source: Where the accuracies were published.
        top1: The share of ImageNet's validation images, in percent, whose class has the highest
            logit.
        top5: The same, of the five highest ones.
        width: The width factor.
        padding: The padding of strided layers.
        interpolation: How images are resized.
        crop: The part that is kept of an image of another size.
    """

    application: str
    arguments: dict[str, Any] = pydantic.Field(default_factory=dict)
    origin: str
    file: str
    digest: str = ""
    norm: Norm
    mode: Mode
    size: Size
    source: str
    top1: Percent
    top5: Percent | None = None
    width: Number = 1.0
    padding: Padding = "symmetric"
    interpolation: Interpolation = "bilinear"
    crop: Part = 0.875


@functools.cache
def known() -> dict[str, Official]:
    """Read what is known of all files, by the names of the weights."""
    found = {}
    for path in sorted(FOLDER.glob("*.toml")):
        shared = tomllib.loads(path.read_text(encoding="utf-8"))
        for name, own in shared.pop("weights").items():
            values = {**shared, **own}
            found[name] = Official(**{**values, "norm": Norm.of(values["norm"])})
    return found


def names() -> list[str]:
    """List the weights whose architecture is in the registry."""
    registered = entries()
    return [name for name in known() if name.partition(".")[0] in registered]


def card(name: str) -> Card:
    """Make the card of official weights.

    Args:
        name: ``arch.tag``, of `names`.

    Returns:
        The card. Its labels and the SHA-256 of the file are there once the file has been fetched.
    """
    entry = known()[name]
    shown = (entry.size, entry.size)
    accuracies = {"published_top1": entry.top1, "published_top5": entry.top5}
    return Card(
        name=name,
        arch=name.partition(".")[0],
        input_shape=(*shown, 3),
        num_classes=imagenet.CLASSES,
        norm=entry.norm,
        dropout=0.0,
        width=entry.width,
        padding=entry.padding,
        preprocessing=Preprocessing(
            size=shown,
            interpolation=entry.interpolation,
            crop=entry.crop,
            **_MODES[entry.mode],
        ),
        labels=imagenet.labels(fetch=False),
        dataset="imagenet2012",
        precision="float32",
        metrics={key: value / 100 for key, value in accuracies.items() if value is not None},
        recipe={},
        sha256=downloads.recorded(entry.file),
        versions={},
        notes=_notes(entry),
        origin=Origin(url=entry.origin + entry.file, digest=entry.digest),
    )


def _notes(entry: Official) -> tuple[str, ...]:
    """Say what a reader of the card should know."""
    told = [f"Weights of keras.applications.{entry.application}; accuracies: {entry.source}"]
    if not entry.digest:
        told.append("No hash of the file is published: it is checked by that of its first download")
    return tuple(told)


def load(name: str) -> "keras.Model":
    """Fetch official weights and build our model with them, as their card says.

    Args:
        name: ``arch.tag``, of `names`.

    Returns:
        The model. The labels are in the cache then, too, unless they cannot be had, of which a
        warning tells, or nothing may be fetched.

    Raises:
        InputError: The weights cannot be had, or are not those that they should be.
    """
    entry, about = known()[name], card(name)
    path = downloads.fetch(entry.origin + entry.file, entry.file, digest=entry.digest)
    try:
        imagenet.labels(fetch=not downloads.is_offline())  # weights put there by hand do without
    except InputError as error:
        why = f"{name}: the names of its classes stay unknown: {error}"
        warnings.warn(why, stacklevel=3)  # where `zoo.load_model` was called
    model = create_model(about.arch, **about.options())
    convert(path, entry, model)
    return model


def convert(path: Path, entry: Official, model: "keras.Model") -> None:
    """Set a model's weights from a file of keras.applications.

    Args:
        path: The HDF5 file.
        entry: What is known of it.
        model: Ours, of the same structure, changed in place.

    Raises:
        InputError: The file holds the weights of another network, or is damaged.
    """
    reference = application(entry, model.input_shape[1:])
    try:
        reference.load_weights(path)
    except (ValueError, KeyError, OSError) as error:  # what Keras and h5py raise for such files
        again = "; remove it to have it fetched again" if path.parent == downloads.cache() else ""
        raise InputError(
            f"{path} (SHA-256 {sha256(path)[:12]}...) does not hold the weights of "
            f"{entry.application}: {str(error).partition(chr(10))[0]}{again}"
        ) from error
    matching.carry(reference, model)


def application(entry: Official, input_shape: tuple[int | None, ...]) -> "keras.Model":
    """Build the network of keras.applications that a file belongs to, with logits and new weights.

    Args:
        entry: What is known of the file.
        input_shape: Height, width and channels.

    Returns:
        The network.
    """
    import keras

    width = {} if entry.width == 1.0 else {"alpha": entry.width}
    build = getattr(keras.applications, entry.application)
    network: keras.Model = build(
        weights=None,
        classifier_activation=None,
        input_shape=input_shape,
        **width,
        **entry.arguments,
    )
    return network
