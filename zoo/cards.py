"""What is known of a set of weights, in one frozen record beside them."""

import fnmatch
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import pydantic

from zoo.errors import InputError
from zoo.files import is_file, sha256, write_text
from zoo.norm import Norm
from zoo.preprocessing import Preprocessing
from zoo.registry import Padding, Size
from zoo.settings import Number, Settings

CARD_FILE = "card.json"
MODEL_FILE = "model.keras"
# The least and the most that metrics of these names may be; others, what a float can be.
_RANGES = {"*accuracy*": (0, 1), "published_top*": (0, 1), "parameters": (0, 2**63)}
_RANGE = (-sys.float_info.max, sys.float_info.max)


class Evaluation(Settings):
    """A measurement of finished weights on the test split of a data set.

    Args:
        accuracy: The share of its images that got their own class as the highest logit.
        low: Where the accuracy's 95 % interval begins.
        high: Where it ends.
        loss: The mean cross-entropy, in nats.
        images: How many images there were.
        views: From how many views of each image; see `training.views`.
        date: When, in ISO 8601.

    Raises:
        InputError: A value is out of its range.
    """

    accuracy: Annotated[Number, pydantic.Field(ge=0, le=1)]
    low: Annotated[Number, pydantic.Field(ge=0, le=1)]
    high: Annotated[Number, pydantic.Field(ge=0, le=1)]
    loss: Number
    images: Size
    views: Size = 1
    date: Annotated[str, pydantic.Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class Origin(Settings):
    """Where a file of weights is published.

    Args:
        url: Its address.
        digest: Its published hash, ``md5:`` or ``sha256:`` and digits; empty where there is none.
    """

    url: Annotated[str, pydantic.Field(pattern=r"^https?://")]
    digest: Annotated[str, pydantic.Field(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})?$")]


class Card(Settings):
    """One set of weights: how to build the model, feed it, read it, and what it achieved.

    Args:
        name: ``arch.tag``, for example ``resnet20.cifar10``.
        arch: The architecture's name in the registry.
        input_shape: Height, width and channels; height and width may be None, for any.
        num_classes: The number of logits.
        norm: The normalization that it was built with.
        dropout: The rate that it was built with.
        stochastic_depth: The rate that it was built with.
        width: The width factor that it was built with.
        padding: The padding of strided layers that it was built with.
        preprocessing: What turns an image into the model's input.
        labels: The classes' names, one for each logit, in their order.
        dataset: The data it was trained on.
        precision: The Keras dtype policy that it was trained under.
        metrics: Measured numbers by name, for example ``test_accuracy``; each accuracy is a
            fraction.
        recipe: The resolved recipe, with every default.
        sha256: The hash of the weight file beside the card.
        versions: Of the packages that made it.
        hardware: What it was trained on; empty where that is not known.
        evaluations: What was measured later, by the name of the data set, and with several views
            of each image by their number too, as in ``cifar10, 6 views``.
        commit: Of this project, where known.
        notes: What a reader of the numbers should know.
        origin: Where the file comes from, of weights that others publish. Its hash and the labels
            may not be known then before it has been fetched.

    Raises:
        InputError: A value is not accepted, or the preprocessing or the labels do not fit the
            model's input or logits.
    """

    name: Annotated[str, pydantic.Field(pattern=r"^[\w-]+\.[\w.-]+$")]
    arch: str
    input_shape: tuple[Size | None, Size | None, Size]
    num_classes: Size
    norm: Norm
    dropout: Number
    stochastic_depth: Number = 0.0
    width: Number
    padding: Padding = "symmetric"
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    dataset: str
    precision: str
    metrics: dict[str, Annotated[float, pydantic.Field(allow_inf_nan=False)] | int]
    recipe: dict[str, Any]
    sha256: Annotated[str, pydantic.Field(pattern=r"^([0-9a-f]{64})?$")]
    versions: dict[str, str]
    hardware: str = ""
    evaluations: dict[str, Evaluation] = pydantic.Field(default_factory=dict)
    commit: str | None = None
    notes: tuple[str, ...] = ()
    origin: Origin | None = None

    @pydantic.field_validator("metrics")
    @classmethod
    def _in_range(cls, metrics: dict[str, float | int]) -> dict[str, float | int]:
        for name, value in metrics.items():
            fitting = (span for like, span in _RANGES.items() if fnmatch.fnmatch(name, like))
            least, most = next(fitting, _RANGE)
            if not least <= value <= most:
                raise ValueError(f"{name}: accepted is {least} to {most}; received {value!r:.40}")
        return metrics

    @pydantic.model_validator(mode="after")
    def _fitting(self) -> "Card":
        if not (self.sha256 or self.origin):
            raise ValueError("sha256: accepted are 64 hexadecimal digits; received none")
        if len(self.labels) != self.num_classes and (self.labels or not self.origin):
            raise ValueError(
                f"labels: accepted are as many as num_classes, {self.num_classes}; "
                f"received {len(self.labels)}"
            )
        fed = (*self.preprocessing.size, self.preprocessing.channels)
        if any(side not in (None, got) for side, got in zip(self.input_shape, fed, strict=True)):
            raise ValueError(
                f"preprocessing: accepted is one that gives images of input_shape, "
                f"{self.input_shape}; received one that gives {fed}"
            )
        return self

    def options(self) -> dict[str, Any]:
        """Choose what `zoo.create_model` was told, besides the architecture.

        Returns:
            Its arguments by name.

        Example:
            >>> zoo.create_model(card.arch, **card.options())
        """
        return {
            "input_shape": self.input_shape,
            "num_classes": self.num_classes,
            "norm": self.norm,
            "dropout": self.dropout,
            "stochastic_depth": self.stochastic_depth,
            "width": self.width,
            "padding": self.padding,
        }

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Card":
        """Read a card from a file.

        Args:
            path: The JSON file.

        Returns:
            The card.

        Raises:
            InputError: The file is missing or is not a card.
        """
        path = Path(path)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise InputError("accepted is one JSON object")
            json.dumps(values, ensure_ascii=False).encode()  # half a character can't be shown
            return cls(**values)
        except FileNotFoundError as error:
            raise InputError(f"there is no card {path}") from error
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        # ValueError: no UTF-8, no JSON, too many digits, InputError; RecursionError: of brackets in
        # brackets without end.
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is not a card: {error}") from error

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the card as JSON, whole or not at all.

        Args:
            path: The file.

        Returns:
            The path.
        """
        return write_text(path, self.model_dump_json(indent=2) + "\n")


def own_card(path: str | os.PathLike[str]) -> Card:
    """Read the card beside a weight file, and make sure that it speaks of this very file.

    Args:
        path: The ``.keras`` file.

    Returns:
        The card.

    Raises:
        InputError: The file or the card is missing, or the card is of another file.

    Example:
        >>> own_card("runs/demo/model.keras").name
    """
    path = Path(path)
    if not is_file(path):
        raise InputError(f"there is no file {path}")
    card = Card.read(path.parent / CARD_FILE)
    received = sha256(path)
    if received != card.sha256:
        raise InputError(
            f"{path.parent / CARD_FILE} is the card of another file than {path.name}: SHA-256 "
            f"{received[:12]}..., there {card.sha256[:12]}..."
        )
    return card
