"""What is known of a set of weights, in one frozen record beside them."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import pydantic

from zoo.errors import InputError
from zoo.files import write_text
from zoo.norm import Norm
from zoo.preprocessing import Preprocessing
from zoo.registry import Size
from zoo.settings import Number, Settings

CARD_FILE = "card.json"
MODEL_FILE = "model.keras"


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
        preprocessing: What turns an image into the model's input.
        labels: The classes' names, one for each logit, in their order.
        dataset: The data it was trained on.
        precision: The Keras dtype policy that it was trained under.
        metrics: Measured numbers by name, for example ``test_accuracy``, a fraction.
        recipe: The resolved recipe, with every default.
        sha256: The hash of the weight file beside the card.
        versions: Of the packages that made it.
        commit: Of this project, where known.
        notes: What a reader of the numbers should know.

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
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    dataset: str
    precision: str
    metrics: dict[str, Annotated[float, pydantic.Field(allow_inf_nan=False)] | int]
    recipe: dict[str, Any]
    sha256: Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
    versions: dict[str, str]
    commit: str | None = None
    notes: tuple[str, ...] = ()

    @pydantic.model_validator(mode="after")
    def _fitting(self) -> "Card":
        if len(self.labels) != self.num_classes:
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
            return cls(**values)
        except FileNotFoundError as error:
            raise InputError(f"there is no card {path}") from error
        except (json.JSONDecodeError, UnicodeDecodeError, InputError) as error:
            raise InputError(f"{path} is not a card: {error}") from error

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the card as JSON, whole or not at all.

        Args:
            path: The file.

        Returns:
            The path.
        """
        return write_text(path, self.model_dump_json(indent=2) + "\n")
