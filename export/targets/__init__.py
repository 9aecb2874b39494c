"""What a model is laid out for: each target one file, and one entry in the table here."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.checks import Check
from export.targets import kserve, litert, onnx, openvino, tfserving, triton
from export.targets.layout import Exported
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
