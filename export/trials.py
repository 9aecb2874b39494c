"""The ways of quantizing that are tried, and the search among them."""

import fnmatch
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export import fp16, int8
from export.calibration import Ranges, ranges
from export.checks import plain
from export.comparison import Comparison, compare
from export.onnx_runtime import Session
from zoo.errors import InputError

if TYPE_CHECKING:
    import onnx

Progress = Callable[[str, int, int], None]

_BATCH = 64
_SENSITIVITY_IMAGES = 64


@dataclass(frozen=True)
class Settings:
    """How a file was made.

    Args:
        calibrator: How the ranges of activations were taken: ``minmax``, ``percentile`` or
            ``entropy``; empty for fp16.
        per_channel: Whether each output channel of a weight has a scale of its own.
        float_layers: The nodes that stayed in float32.
    """

    calibrator: str = ""
    per_channel: bool = False
    float_layers: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [self.calibrator, "per channel" if self.per_channel else "per tensor"]
        kept = f"{len(self.float_layers)} layers in float32" if self.float_layers else ""
        return ", ".join([*(words if self.calibrator else []), *filter(None, [kept])]) or "plain"


@dataclass(frozen=True)
class Trial:
    """One way that was tried.

    Args:
        settings: How the file was made.
        comparison: The file beside the float file, on the images that choose.
        ok: Whether it loses no more than the limit.
        seconds: How long it took to make and to measure.
    """

    settings: Settings
    comparison: Comparison
    ok: bool
    seconds: float

    @property
    def rank(self) -> tuple[float, ...]:
        """What to compare by; the smallest is the best."""
        measured = self.comparison
        return (
            not self.ok,
            len(self.settings.float_layers) if self.ok else 0,
            measured.loss,
            -measured.agreement,
            measured.logit_error,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as plain values, in one level."""
        return {
            "name": str(self.settings),
            **asdict(self.settings),
            **plain(asdict(self.comparison)),
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
        }


@dataclass
class Maker:
    """Makes files of fewer bits; what all of them need is computed once.

    Args:
        path: The float file.
        proto: Its content.
        folder: Where work can be put.
        precision: ``int8`` or ``fp16``.
        cpu: For which processor int8 is.
        images: What calibrates, channels last.
        nchw: Whether the file takes the channels first.
    """

    path: Path
    proto: "onnx.ModelProto"
    folder: Path
    precision: str
    cpu: str
    images: np.ndarray
    nchw: bool
    _ranges: dict[str, Ranges] = field(default_factory=dict, init=False)

    @cached_property
    def _prepared(self) -> Path:
        prepared = self.folder / "prepared.onnx"
        int8.prepare(self.path, prepared)
        return prepared

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The nodes with weights, by name."""
        import onnx

        proto = onnx.load(self._prepared) if self.precision == "int8" else self.proto
        return tuple(node.name for node in proto.graph.node if node.op_type in int8.WEIGHTED)

    def matching(self, patterns: Sequence[str]) -> tuple[str, ...]:
        """Name the nodes that patterns match; refuse a pattern that matches none."""
        for pattern in patterns:
            if not fnmatch.filter(self.layers, pattern):
                raise InputError(
                    f"keep_float: no layer is named {pattern!r}; the layers: "
                    f"{', '.join(self.layers)}"
                )
        return tuple(
            name for name in self.layers if any(fnmatch.fnmatch(name, p) for p in patterns)
        )

    def make(self, settings: Settings, only: str = "") -> "onnx.ModelProto":
        """Make one file; of one layer alone, for how much that one changes."""
        if self.precision == "fp16":
            others = [name for name in self.layers if name != only] if only else []
            return fp16.convert(self.proto, {*settings.float_layers, *others})
        found = self._ranges.get(settings.calibrator)
        if found is None:
            images = self.images
            if self.nchw:
                images = np.ascontiguousarray(np.moveaxis(images, -1, 1))
            found = ranges(self._prepared, images, settings.calibrator)
            self._ranges[settings.calibrator] = found
        return int8.convert(
            self._prepared,
            found,
            per_channel=settings.per_channel,
            cpu=self.cpu,
            float_layers=settings.float_layers,
            only=[only] if only else [],
        )


@dataclass
class Measure:
    """Holds files against the float file, on the images that choose.

    Args:
        proto: The float file's content.
        images: The images.
        labels: The index of each one's class, or None.
        level: At which of onnxruntime's levels the files run.
        nchw: Whether they take the channels first.
        limit: How many points of accuracy they may lose.
    """

    proto: "onnx.ModelProto"
    images: np.ndarray
    labels: np.ndarray | None
    level: str
    nchw: bool
    limit: float

    @cached_property
    def _exact(self) -> np.ndarray:
        return logits(Session(self.proto, nchw=self.nchw), self.images)

    def trial(self, made: "onnx.ModelProto", settings: Settings, start: float) -> Trial:
        """Measure one way."""
        values = logits(Session(made, level=self.level, nchw=self.nchw), self.images)
        found = compare(self._exact, values, self.labels)
        return Trial(settings, found, found.loss <= self.limit, time.perf_counter() - start)

    def error(self, made: "onnx.ModelProto") -> float:
        """Measure the mean logit error alone, on a few images."""
        few = self.images[:_SENSITIVITY_IMAGES]
        values = logits(Session(made, level=self.level, nchw=self.nchw), few)
        return compare(self._exact[: len(few)], values, None).logit_error


class Search:
    """Tries ways until one is good enough, the cheapest to run first."""

    def __init__(
        self, maker: Maker, measure: Measure, kept: tuple[str, ...], progress: Progress
    ) -> None:
        self._maker, self._measure, self._kept, self._progress = maker, measure, kept, progress
        self.tried: list[Trial] = []

    def run(self, calibrators: Sequence[str], granularities: Sequence[bool]) -> Trial:
        """Return the best way."""
        ways = [Settings(float_layers=self._kept)]
        if self._maker.precision == "int8":
            ways = [
                Settings(name, per_channel, self._kept)
                for name in calibrators
                for per_channel in granularities
            ]
        for done, way in enumerate(ways):
            self._progress(f"trying {way}", done, len(ways))
            self._try(way)
        best = min(self.tried, key=lambda trial: trial.rank)
        if not best.ok:
            self._keep_more(best.settings)
            best = min(self.tried, key=lambda trial: trial.rank)
        return best

    def _try(self, way: Settings) -> Trial:
        """Make and measure one way."""
        start = time.perf_counter()
        trial = self._measure.trial(self._maker.make(way), way, start)
        self.tried.append(trial)
        return trial

    def _keep_more(self, way: Settings) -> None:
        """Leave more and more layers in float32, at most half, those first that change most."""
        layers = [name for name in self._maker.layers if name not in way.float_layers]
        errors = {}
        for done, name in enumerate(layers):
            self._progress(f"measuring {name}", done, len(layers))
            errors[name] = self._measure.error(self._maker.make(way, only=name))
        order = sorted(layers, key=lambda name: -errors[name])
        most = max(1, len(layers) // 2)
        counts = [2**power for power in range(most.bit_length()) if 2**power < most] + [most]
        for done, count in enumerate(counts):
            kept = {*way.float_layers, *order[:count]}
            in_order = tuple(name for name in self._maker.layers if name in kept)
            next_way = replace(way, float_layers=in_order)
            self._progress(f"trying {next_way}", done, len(counts))
            if self._try(next_way).ok:
                return


def logits(session: Session, images: np.ndarray) -> np.ndarray:
    """Run images through a file, channels last, and return its first output."""
    parts = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
    return np.concatenate([session.run([part])[0] for part in parts])
