"""What a model is laid out for: each target one file, and one entry in the table here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from export.checks import Check
from export.targets import kserve, onnx, triton
from export.targets.layout import Exported


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
    """

    lay_out: Callable[[Exported, Path], None]
    model_file: Callable[[str], str]
    check: Callable[[Path, str], list[Check]]
    server: bool = False


# A new target is one new file and one new entry.
TARGETS = {
    "onnx": Target(onnx.lay_out, onnx.model_file, onnx.check),
    "triton": Target(triton.lay_out, triton.model_file, triton.check, server=True),
    "kserve": Target(kserve.lay_out, triton.model_file, kserve.check, server=True),
}
