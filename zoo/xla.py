"""Where XLA should compile a model although Keras would leave it to TensorFlow's own kernels.

On a CPU TensorFlow computes bfloat16 fast only through oneDNN, which it uses for that only where
the processor has AVX-512 with VNNI. Elsewhere its own kernels emulate bfloat16 and are several
times slower than float32; XLA widens each operation to float32 and rounds its result instead.
`python -m tests.bench.precision` shows what either takes.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
else:
    from zoo.lazily import keras

# A flag that every x86 processor has on which TensorFlow gives bfloat16 to oneDNN.
_FAST_FLAG = "avx512_vnni"
_CPU_FACTS = Path("/proc/cpuinfo")


def is_needed(dtype: str) -> bool:
    """Say whether a model that computes in a dtype should be compiled with XLA on this machine.

    Args:
        dtype: What it computes in, for example ``bfloat16``.

    Returns:
        True for bfloat16 on TensorFlow, on a CPU that it computes bfloat16 slowly on; where the
        system does not tell the CPU's features, also true, since XLA costs little. False wherever
        Keras' own choice is good.
    """
    if dtype != "bfloat16" or keras.backend.backend() != "tensorflow":
        return False
    return not keras.distribution.list_devices("gpu") and not _has_fast_bfloat16()


@functools.cache
def _has_fast_bfloat16() -> bool:
    """Look the processor's features up."""
    try:
        return _FAST_FLAG in _CPU_FACTS.read_text().split()
    except OSError:
        return False


def predictor(model: "keras.Model") -> Callable[[Any], Any]:
    """Return the fastest way to run a model's inference on batches of one size.

    Args:
        model: The model. It is not changed, but for what `predict_on_batch` keeps in it.

    Returns:
        A function from a batch to the model's output, as an array.
    """
    slow = any(is_needed(layer.compute_dtype) for layer in model._flatten_layers())
    if not slow or model.jit_compile:
        return model.predict_on_batch
    import tensorflow as tf

    run = tf.function(lambda batch: model(batch, training=False), jit_compile=True)
    return lambda batch: keras.ops.convert_to_numpy(run(keras.ops.convert_to_tensor(batch)))
