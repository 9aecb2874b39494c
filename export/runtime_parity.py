"""Whether what another runtime loads from a bundle computes what the folded model computes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export import parity
from export.checks import Check
from export.probes import BATCHES, random_inputs
from export.subject import subject
from export.targets import Target

if TYPE_CHECKING:
    import keras


def check(
    model: "keras.Model", target: Target, folder: Path, name: str, accepted: float
) -> Sequence[Check]:
    """Compare a target's own form of the model with Keras, where it has one.

    Args:
        model: The folded model.
        target: The bundle's target.
        folder: The bundle.
        name: The model's name.
        accepted: The error that the verdict accepts of the ONNX file, and so of this form too; a
            batch on which the model itself errs more has its own limit.

    Returns:
        One check for each batch; none where the target's form is the ONNX file itself.
    """
    if target.load is None:
        return ()
    given, reference = subject(model), parity.Reference.of(model)
    compute = target.load(folder, name, given.inputs, given.outputs)
    checks = []
    for batch in BATCHES:
        inputs = random_inputs(model, batch)
        answer = reference.answer(inputs)
        limit = max(accepted, parity.limit_for(answer.own_error()))
        error = answer.error(compute(inputs))
        detail = "of the largest output, against float64"
        checks.append(
            Check(f"the target's own form, batch {batch}", error <= limit, error, limit, detail)
        )
    return checks
