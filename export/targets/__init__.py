"""What a model is laid out for: each target one file, and one entry in the table here."""

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export import quantization
from export.checks import Check
from export.targets import kserve, litert, onnx, openvino, tfserving, triton
from export.targets.layout import MAX_INSTANCES, Exported
from zoo.errors import InputError

Compute = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class Target:
    """One way to lay out a model for what runs it.

    Args:
        lay_out: Puts into a folder what the server reads. It moves the ONNX file to its place.
        model_file: Tells where that is, from the model's name; relative to the folder.
        check: Looks at a folder as it was shipped, given the model's name, without running it.
        server: Whether it is for a server of the Open Inference Protocol: then the file has
            probabilities beside logits where the model classifies, and the bundle has a sample
            request and a client.
        load: Loads what is computed with, where that is not the ONNX file: from the folder, the
            model's name, and the names of its inputs and outputs.
        packages: What it is made and loaded with, where this package does not require it: each also
            the name of the extra that installs it.
    """

    lay_out: Callable[[Exported, Path], None]
    model_file: Callable[[str], str]
    check: Callable[[Path, str], list[Check]]
    server: bool = False
    load: Callable[[Path, str, Sequence[str], Sequence[str]], Compute] | None = None
    packages: tuple[str, ...] = ()

    def require(self) -> None:
        """Make sure that its packages are there.

        Raises:
            InputError: One is not installed.
        """
        for name in self.packages:
            if importlib.util.find_spec(name) is None:
                raise InputError(
                    f"this target needs {name}, which is not installed; "
                    f"pip install 'foldzoo[{name}]' installs it"
                )


PRECISIONS = ("fp32", *quantization.PRECISIONS)

# A new target is one new file and one new entry.
TARGETS = {
    "onnx": Target(onnx.lay_out, onnx.model_file, onnx.check),
    "triton": Target(triton.lay_out, triton.model_file, triton.check, server=True),
    "kserve": Target(kserve.lay_out, triton.model_file, kserve.check, server=True),
    "tfserving": Target(
        tfserving.lay_out, tfserving.model_file, tfserving.check, load=tfserving.load
    ),
    "openvino": Target(
        openvino.lay_out,
        openvino.model_file,
        openvino.check,
        load=openvino.load,
        packages=("openvino",),
    ),
    "litert": Target(litert.lay_out, litert.model_file, litert.check, load=litert.load),
}


def chosen(name: str, precision: str, *, pixels: bool, instances: int) -> Target:
    """Look a target up, and refuse what it, or nothing, can be made with.

    Args:
        name: The target.
        precision: The number format of the file.
        pixels: Whether it takes images as they are.
        instances: How many of the model a server runs side by side.

    Returns:
        The target.

    Raises:
        InputError: There is no such target or precision, the target does not take one of the
            others, or what it needs is not installed.
    """
    _accepted("target", name, TARGETS)
    _accepted("precision", precision, PRECISIONS)
    target = TARGETS[name]
    if target.load is not None and (pixels or precision != "fp32"):
        what = f"precision {precision}" if precision != "fp32" else "pixels"
        raise InputError(
            f"target {name}: what it runs is no ONNX file, so accepted are fp32 and preprocessed "
            f"images; received {what}"
        )
    if not 1 <= instances <= (MAX_INSTANCES if target.server else 1):
        servers = ", ".join(name for name, one in TARGETS.items() if one.server)
        raise InputError(
            f"instances: accepted are 1, and for the servers ({servers}) up to {MAX_INSTANCES}; "
            f"received {instances} for target {name}"
        )
    target.require()
    return target


def _accepted(what: str, received: str, options: Iterable[str]) -> None:
    """Refuse a word that is not one of the options."""
    options = list(options)
    if received not in options:
        raise InputError(f"unknown {what} {received!r}; accepted: {', '.join(options)}")
