"""Training steps of ResNet-20, taken by processes of their own that take turns.

    python -m tests.bench.steps '{"precision": "float32"}'

A process of its own is what another interpreter, or another setting that is read once, needs.
It tells on a line that it is ready; then each line that it reads, a number of seconds, is answered
with the images per second of a run of that length.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoo import onednn

BATCH = 128


class Runner:
    """A process that takes training steps when it is asked to.

    Args:
        command: What is run.
        environment: What is different in its environment.
    """

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        )

    @functools.cached_property
    def greeting(self) -> str:
        """The line by which it tells that it is ready; waits for that.

        Raises:
            SystemExit: It ended before.
        """
        return self._read()

    def rate(self, seconds: float) -> float:
        """Have steps taken for a while; return the images per second."""
        assert self.greeting and self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return float(self._read())

    @staticmethod
    def ready(*runners: "Runner") -> None:
        """Wait for all, which start side by side."""
        for runner in runners:
            assert runner.greeting

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self._process.args))} ended: see above")
        return line.strip()


def ours(environment: Mapping[str, str] | None = None, **settings: Any) -> Runner:
    """Start our training; the settings are those of `training_step`."""
    command = [sys.executable, "-m", "tests.bench.steps", json.dumps(settings)]
    return Runner(command, **(environment or {}))


def training_step(
    precision: str,
    *,
    jit: bool | str | None = None,
    fused: bool = True,
    batch: int = BATCH,
    width: float = 1.0,
) -> Callable[[], Any]:
    """Make a training step of ResNet-20 for CIFAR-10, as `zoo train` computes it.

    Args:
        precision: A dtype policy.
        jit: Whether it is compiled with XLA; None for what `zoo train` chooses.
        fused: Whether BatchNorms use TensorFlow's fused kernel.
        batch: The number of images.
        width: The multiple of all channels.

    Returns:
        What takes a step on images that lie in memory, and returns its loss and accuracy.
    """
    onednn.prefer()
    import keras
    import numpy as np

    import zoo
    from training import fused_norm
    from training.optimizer import SGD
    from training.precision import jit_compile
    from training.repeatable import make_repeatable
    from zoo.policies import policy

    make_repeatable(0)
    with policy(precision):
        model = zoo.create_model("resnet20", width=width)
    if fused:
        fused_norm.use(model)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    jit = jit_compile(precision) if jit is None else jit
    model.compile(SGD(0.1, l2=1e-4), loss, metrics=["accuracy"], jit_compile=jit)
    random = np.random.default_rng(0)
    images = random.normal(size=(batch, 32, 32, 3)).astype(np.float32)
    labels = np.eye(10, dtype=np.float32)[random.integers(0, 10, batch)]
    return lambda: model.train_on_batch(images, labels)


def rate(step: Callable[[], Any], seconds: float, batch: int = BATCH) -> float:
    """Take steps for a while; return the images per second."""
    start, count = time.perf_counter(), 0
    while count < 2 or time.perf_counter() - start < seconds:
        step()
        count += 1
    return count * batch / (time.perf_counter() - start)


def main() -> None:
    """Answer until there is nothing more to read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", type=json.loads)
    settings = parser.parse_args().settings
    step = training_step(**settings)
    for _ in range(3):
        step()  # the first one compiles
    print("ready", flush=True)
    for line in sys.stdin:
        print(rate(step, float(line), settings.get("batch", BATCH)), flush=True)


if __name__ == "__main__":
    main()
