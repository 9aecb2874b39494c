"""Event files that TensorBoard shows: numbers per epoch and the recipe, without TensorFlow.

The records are written by the package tensorboard's own protocol buffers and record writer. Its
``EventFileWriter`` is not used since it would load TensorFlow wherever that is installed.

Reference:
    https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto
"""

import importlib.util
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.progress import Progress
from zoo.files import writing

if TYPE_CHECKING:
    from training.recipe import Recipe

FOLDER = "tensorboard"
MISSING = (
    "no TensorBoard logs: the package tensorboard is not installed "
    "(pip install 'foldzoo[tensorboard]')"
)
_NO_SCALARS = ("epoch", "seconds")  # the horizontal axis is made of these


def is_installed() -> bool:
    """Say whether the package tensorboard is there, without loading it."""
    return importlib.util.find_spec("tensorboard") is not None


def logs(folder: Path) -> list[Path]:
    """List the event files of a run's folder, which a training there replaces by its own."""
    return list((folder / FOLDER).glob("events.out.tfevents.*"))


class Events(Progress):
    """Writes an event file while a training runs.

    Each process begins a file of its own with all epochs that its checkpoint knows of, and then
    removes the older ones: a resumed training has each epoch once.

    Args:
        folder: The run's folder; the events lie in a folder ``tensorboard`` in it.
        recipe: What is trained by; told as text and as hyperparameters.
        history: One row per epoch that is done.
    """

    def __init__(
        self, folder: Path, recipe: "Recipe", history: Sequence[Mapping[str, float]]
    ) -> None:
        self.run, self.folder = folder, folder / FOLDER
        self.recipe, self.history = recipe, history
        self._writer: Any = None
        self._began = 0.0

    def begin(self, *, name: str, epochs: int, steps: int, done: int) -> None:
        """Begin a new file, and remove those of older processes."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        now = time.time()
        # As if the training had not been interrupted: then times relative to its start are right.
        self._began = now - (self.history[-1]["seconds"] if self.history else 0.0)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            older = logs(self.run)
            # TensorBoard sorts files by name and wants the time first.
            path = self.folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
            self._writer = RecordWriter(path.open("xb"))
            self._write(Event(wall_time=self._began, file_version="brain.Event:2"))
            self._write(Event(wall_time=self._began, summary=_recipe_text(self.recipe)))
            self._write(Event(wall_time=self._began, summary=_hyperparameters(self.recipe, now)))
            for row in self.history:
                self._write(self._event(row))
            self._writer.flush()
            for file in older:
                file.unlink(missing_ok=True)

    def epoch(self, row: dict[str, float]) -> None:
        """Add the numbers of an epoch."""
        with writing(self.folder):
            self._write(self._event(row))
            self._writer.flush()

    def end(self) -> None:
        """Close the file."""
        if self._writer is not None:
            with writing(self.folder):
                self._writer.close()

    def _write(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())

    def _event(self, row: Mapping[str, float]) -> Any:
        """Put a row of the history into an event."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        return Event(
            wall_time=self._began + row["seconds"],
            step=int(row["epoch"]),
            summary=Summary(
                value=[
                    Summary.Value(tag=name, simple_value=value)
                    for name, value in row.items()
                    if name not in _NO_SCALARS
                ]
            ),
        )


def _recipe_text(recipe: "Recipe") -> Any:
    """Put the recipe into a summary of the text plugin, as a block of TOML in Markdown."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text.metadata import create_summary_metadata

    lines = "".join(f"    {line}\n" for line in recipe.to_toml().splitlines())
    return Summary(
        value=[
            Summary.Value(
                tag="recipe",
                metadata=create_summary_metadata("recipe", "The resolved recipe, as TOML."),
                tensor=TensorProto(dtype=DT_STRING, string_val=[lines.encode()]),
            )
        ]
    )


def _hyperparameters(recipe: "Recipe", now: float) -> Any:
    """Put the recipe into a summary of the plugin that compares runs."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    values = _flat(recipe.model_dump(mode="json"))
    return hparams_pb(values, trial_id=recipe.name, start_time_secs=now)


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str | float | bool]:
    """Make one level of a recipe, of values that the plugin takes."""
    flat: dict[str, str | float | bool] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            simple = isinstance(value, str | float | int | bool)
            flat[f"{prefix}{key}"] = value if simple else ", ".join(map(str, value))
    return flat
