"""The target ``kserve``: Triton's model repository, and a manifest for KServe to serve it.

Reference:
    https://kserve.github.io/website/docs/model-serving/predictive-inference/frameworks/onnx
"""

import re
from pathlib import Path

from export.checks import Check
from export.targets import triton
from export.targets.layout import Exported
from zoo.files import write_text

MANIFEST_FILE = "inferenceservice.yaml"
_LONGEST = 63  # characters of a name in Kubernetes

_MANIFEST = """\
# kubectl apply -f {file}
# Put this bundle where storageUri says: a volume claim (pvc://), a bucket (s3://, gs://) or an
# address (https://) that the cluster can read. The folder that is named there holds {model}/.
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: "{service}"
spec:
  predictor:
    model:
      modelFormat:
        name: onnx
      protocolVersion: v2
      runtime: kserve-tritonserver
      storageUri: pvc://models/{model}
"""


def lay_out(made: Exported, folder: Path) -> None:
    """Fill a model repository, and write the manifest beside it.

    Args:
        made: What was exported.
        folder: The folder.
    """
    triton.lay_out(made, folder)
    write_text(folder / MANIFEST_FILE, _text(made.name))


def check(folder: Path, name: str) -> list[Check]:
    """Look at the repository as `triton.check`, and at the manifest.

    Args:
        folder: The folder.
        name: The model's name.

    Returns:
        The checks.
    """
    path = folder / MANIFEST_FILE
    told = path.read_bytes() if path.is_file() else b""
    same = told == _text(name).encode("utf-8")
    measured = "as written" if same else "another" if told else "missing"
    return [
        *triton.check(folder, name),
        Check(MANIFEST_FILE, same, measured, "as written", "deploy a changed copy of it"),
    ]


def service_name(name: str) -> str:
    """Turn a model's name into one of a service: a letter, then letters, digits and hyphens.

    Args:
        name: For example ``resnet20.digits``.

    Returns:
        For example ``resnet20-digits``; with ``model-`` before what starts with a digit.
    """
    plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    begun = plain if plain[:1].isalpha() else f"model-{plain}"
    return begun[:_LONGEST].strip("-")


def _text(name: str) -> str:
    """Write the manifest."""
    return _MANIFEST.format(file=MANIFEST_FILE, model=name, service=service_name(name))
