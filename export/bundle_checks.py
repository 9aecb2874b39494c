"""The verdict on a bundle as it was shipped: are these the files, and do they fit one another?"""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from export import manifest, onnx_metadata, sample_request
from export.bundle_folder import FOLDED_FILE
from export.checks import Check, Verdict
from export.labelled import Data
from export.targets import TARGETS, Target
from zoo.errors import InputError

if TYPE_CHECKING:
    from export.validation import Progress
    from zoo.preprocessing import Preprocessing


def validate_bundle(
    folder: str | os.PathLike[str],
    *,
    data: Data | None = None,
    progress: "Progress | None" = None,
) -> Verdict:
    """Judge a bundle by what is in its folder, wherever it was brought.

    Every byte is held against the manifest; what the server reads against the ONNX file (names,
    types, shapes, batch, labels, folders); the file against ``folded.keras`` as `export.validate`
    does it; and the answer to the sample request against the expected one. No file is loaded whose
    hash is not that of the manifest.

    Args:
        folder: What `export.bundle` wrote.
        data: The test split, where there is one, as for `export.validate`.
        progress: Called with what is done, how many steps are done, and how many there are.

    Returns:
        The verdict.

    Raises:
        InputError: The folder is no bundle at all, the data cannot be used, or what runs the
            target's own form of the model is not installed.

    Example:
        >>> export.validate_bundle("bundle").ok
        True
    """
    folder = Path(folder)
    told = manifest.read(folder)
    checks = manifest.check(folder, told)
    target = TARGETS.get(told.values["target"])
    if target is None:
        received, known = told.values["target"], ", ".join(TARGETS)
        return Verdict((*checks, Check("target", False, received, f"one of {known}")))
    target.require()
    checks += _layout(folder, target, told)
    checks += _parity(folder, told, data, progress)
    if target.load is not None:
        checks += _runtime(folder, target, told)
    if target.server:
        checks += _sample(folder, told)
    return Verdict(tuple(checks))


def fed_with(
    folder: str | os.PathLike[str],
) -> "tuple[Preprocessing, tuple[str, ...]] | None":
    """Tell what a test split for a bundle is made with.

    Args:
        folder: The bundle.

    Returns:
        The preprocessing and the labels in its ONNX file; None where that is not the file that the
        manifest names, so that nothing of it is to be relied on.

    Raises:
        InputError: The folder is no bundle at all, or the preprocessing is not known.
    """
    from export.sources import unknown_preprocessing
    from zoo.preprocessing import Preprocessing

    folder = Path(folder)
    told = manifest.read(folder)
    file = told.values["model"]["file"]
    if _unusable(folder, told, file):
        return None
    said = onnx_metadata.read_metadata(folder / file)
    if "preprocessing" not in said:
        raise unknown_preprocessing(told.values["name"])
    return Preprocessing(**said["preprocessing"]), tuple(said.get("labels") or ())


def _layout(folder: Path, target: Target, told: manifest.Manifest) -> list[Check]:
    """Look at what the server reads."""
    name, file = told.values["model"]["name"], told.values["model"]["file"]
    found = "there" if (folder / file).is_file() else "missing"
    checks = [Check(f"{file}", found == "there", found, "there")]
    if not (folder / file).parent.is_dir():
        return checks
    return [*checks, *target.check(folder, name)]


def _unusable(folder: Path, told: manifest.Manifest, *files: str) -> str:
    """Say why files are not to be loaded; empty where all are as the manifest says."""
    changed = manifest.changed_files(folder, told)
    for file in files:
        if file not in told.files:
            return f"the manifest does not name {file}"
        if not (folder / file).is_file():
            return f"{file} is missing"
        if file in changed:
            return f"{file} is not the one that the manifest names"
    return ""


def _parity(
    folder: Path, told: manifest.Manifest, data: Data | None, progress: "Progress | None"
) -> list[Check]:
    """Compare the ONNX file with the folded model beside it."""
    from export.validation import validate
    from zoo import keras_files

    file = told.values["model"]["file"]
    problem = _unusable(folder, told, file, FOLDED_FILE)
    if not problem:
        try:
            model = keras_files.load(folder / FOLDED_FILE)
            verdict = validate(
                model, folder / file, data=data, accepted=_accepted(told), progress=progress
            )
            return list(verdict.checks)
        except InputError as error:
            if data is not None:
                raise
            problem = str(error)
    return [Check("parity with Keras", False, "not compared", "compared", problem)]


def _accepted(told: manifest.Manifest) -> float:
    """Return the error that the file was shipped with leave for, by the trained model's own."""
    limit = told.values["tolerances"].get("verdict")
    return limit if isinstance(limit, float) and math.isfinite(limit) else 0.0


def _runtime(folder: Path, target: Target, told: manifest.Manifest) -> list[Check]:
    """Compare the target's own form of the model with the folded model."""
    from export import runtime_parity
    from zoo import keras_files

    name = told.values["model"]["name"]
    own = [file for file in told.files if file.startswith(f"{name}/")]
    needed = [check.name for check in target.check(folder, name)]
    problem = _unusable(folder, told, FOLDED_FILE, *own, *needed)
    if problem:
        return [Check("the target's own form", False, "not compared", "compared", problem)]
    model = keras_files.load(folder / FOLDED_FILE)
    return list(runtime_parity.check(model, target, folder, name, _accepted(told)))


def _sample(folder: Path, told: manifest.Manifest) -> list[Check]:
    """Compare the answer to the sample request with the expected one."""
    file = told.values["model"]["file"]
    asked = (file, sample_request.REQUEST_FILE, sample_request.RESPONSE_FILE)
    problem = _unusable(folder, told, *asked)
    tolerance = told.values["tolerances"].get("sample")
    if not isinstance(tolerance, float):
        problem = problem or "the manifest tells no tolerance of it"
    if problem:
        return [Check("sample request", False, "not answered", "as expected", problem)]
    return sample_request.check(folder, file, float(tolerance))
