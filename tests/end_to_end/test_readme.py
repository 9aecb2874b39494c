"""Every command and every example of README.md runs, in the order in which a reader meets them."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
TARGETS = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
STEPS = [
    (kind, step)
    for kind, block in BLOCKS
    for step in (block.strip().splitlines() if kind == "sh" else [block])
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One folder for all steps: later ones use what earlier ones leave."""
    return tmp_path_factory.mktemp("readme")


def test_there_are_the_three_ways_in():
    text = "\n".join(step for _, step in STEPS)
    for word in ("make demo", "zoo train", "zoo.load_model", "zoo export", "InferenceSession"):
        assert word in text


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "step"), STEPS, ids=lambda part: part.split("\n")[0][:60])
def test_a_step_runs(kind, step, folder, request):
    if step.startswith("make "):
        assert step.split()[1] in TARGETS  # each is run by itself: this is part of one of them
        return
    if kind == "python":
        command = [sys.executable, "-c", step]
    else:
        if "--data-dir" in step:
            prepared = request.getfixturevalue("tfds_dir")
            step = step.replace("~/tensorflow_datasets", str(prepared))
            step += " --set image_size=8 --set width=0.5 --set batch_size=500"  # a quick epoch
        program, *words = shlex.split(step)
        assert program == "zoo"
        command = [sys.executable, "-m", "zoo", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
