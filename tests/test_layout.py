"""The arrows between the packages, and what importing them costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {"zoo": {"training", "export"}, "training": {"export"}, "export": {"training"}}
# The command line is where the three packages meet.
MODULES = [
    path
    for package in FORBIDDEN
    for path in sorted((ROOT / package).rglob("*.py"))
    if ROOT / "zoo" / "cli" not in path.parents
]


def imported(path: Path) -> set[str]:
    """The packages that a file imports anywhere, by their first name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path):
    relative = path.relative_to(ROOT)
    if relative == Path("training/__main__.py"):
        assert imported(path) <= {"sys", "zoo"}
    assert not imported(path) & FORBIDDEN[relative.parts[0]]


def python(code: str) -> str:
    """Run code in a new process and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", ["zoo", "training", "export"])
def test_importing_a_package_loads_nothing_heavy(package):
    heavy = "{'tensorflow', 'keras', 'jax', 'onnx', 'onnxruntime', 'tf2onnx', 'matplotlib'}"
    code = f"import sys, {package}; print(sorted({heavy} & set(sys.modules)))"
    assert python(code).strip() == "[]"


@pytest.mark.parametrize("package", ["zoo", "training", "export"])
def test_tensorflow_may_be_imported_after_a_package(package):
    """TensorFlow looks for Keras while it is half imported; a stand-in there loaded it broken."""
    code = f"import {package}, tensorflow, keras, zoo; print(zoo.create_model('resnet8').name)"
    assert python(code).strip() == "resnet8"


def test_listing_models_needs_no_keras():
    code = "import sys, zoo; print(len(zoo.list_models()) > 0, 'keras' in sys.modules)"
    assert python(code).split() == ["True", "False"]


# JAX's backend, and a finder that refuses TensorFlow.
WITHOUT_TENSORFLOW = """
import os, sys
os.environ["KERAS_BACKEND"] = "jax"
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_datasets", "tf2onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
"""


@pytest.mark.slow
def test_zoo_and_training_work_without_tensorflow():
    code = WITHOUT_TENSORFLOW + (
        "import numpy, zoo, training\n"
        "model = zoo.create_model('resnet20', input_shape=(8, 8, 3), width=0.5)\n"
        "print(model(numpy.zeros((2, 8, 8, 3), 'float32')).shape)\n"
        "print(training.Recipe.load('resnet20.digits').arch)\n"
        "print(training.load_data('digits').test.images.shape[1:])\n"
    )
    assert python(code).splitlines() == ["(2, 10)", "resnet20", "(32, 32, 3)"]
