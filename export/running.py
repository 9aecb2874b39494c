"""A Keras model run for inference, arrays in and arrays out.

Called as it is, a deep Keras model spends most of a small batch's time between operations, and
keeps what every layer made until the last one has run: over twenty gigabytes for EfficientNetB5
(456x456) in float64. On TensorFlow a model that runs often, a dozen times or more, is therefore
traced once, for any batch size; tracing costs a few calls.
"""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from zoo.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

_MARKS = re.compile(r"\x1b\[[0-9;]*m|\[?\[?\{\{[^}]*\}\}\]?\]?|\[Op:[^]]*\]")
_ABOUT = ("Graph execution error", "Detected at node", "Stack trace for op definition")


class Runner:
    """A model that is run often.

    Runs on the CPU: a GPU may round float32 to fewer bits.

    Args:
        model: A functional or Sequential model. One that cannot be traced is called as it is.

    Example:
        >>> run = Runner(model)
        >>> (logits,) = run([images])
    """

    def __init__(self, model: "keras.Model") -> None:
        self.model = model

    def __call__(self, inputs: Sequence["np.ndarray"]) -> list["np.ndarray"]:
        """Compute a batch.

        Args:
            inputs: One array per input, in the model's order; each is brought to its dtype.

        Returns:
            One array per output, flat; bfloat16 and float16 as float32.

        Raises:
            InputError: The backend lacks an operation of the model in its dtype, as TensorFlow
                lacks 3D pooling in float64.
        """
        return _computed(self.model, self._call, inputs)

    @cached_property
    def _call(self) -> Callable[..., list[Any]]:
        """The model's outputs, flat, as a function of its inputs, flat."""
        import keras

        if keras.backend.backend() != "tensorflow":
            return _flat(self.model)
        import tensorflow as tf

        signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in self.model.inputs]
        traced = tf.function(_flat(self.model), input_signature=signature)
        try:
            traced.get_concrete_function()
        except Exception:
            # A layer may look at numbers, and what it raises then may be of any class. Nothing is
            # lost: what is wrong also without tracing is raised by the call that follows.
            return _flat(self.model)
        return traced


def outputs(model: "keras.Model", inputs: Sequence["np.ndarray"]) -> list["np.ndarray"]:
    """Run a model as it is; see `Runner`, which takes and returns and raises the same."""
    return _computed(model, _flat(model), inputs)


def _computed(
    model: "keras.Model", call: Callable[..., list[Any]], inputs: Sequence["np.ndarray"]
) -> list["np.ndarray"]:
    """Bring arrays to a model's dtypes, and what it makes of them to dtypes of numpy."""
    import keras

    with keras.device("cpu:0"):
        pairs = zip(inputs, model.inputs, strict=True)
        given = [keras.ops.convert_to_tensor(array, tensor.dtype) for array, tensor in pairs]
        try:
            made = call(*given)
        except _backend_errors() as error:
            raise InputError(
                f"Keras on {keras.backend.backend()} cannot compute {model.name} in "
                f"{model.inputs[0].dtype}: {_said(str(error))}"
            ) from error
        return [keras.ops.convert_to_numpy(keras.ops.cast(o, _wide(o))) for o in made]


def _flat(model: "keras.Model") -> Callable[..., list[Any]]:
    """Return a model's call, with flat inputs and outputs."""
    import keras

    def call(*given: Any) -> list[Any]:
        with keras.device("cpu:0"):
            structure = getattr(model, "_inputs_struct", None)
            one = structure is None  # of a Sequential model
            packed = given[0] if one else keras.tree.pack_sequence_as(structure, list(given))
            return keras.tree.flatten(model(packed, training=False))

    return call


def _backend_errors() -> tuple[type[BaseException], ...]:
    """Return what a backend raises where it has no kernel for an operation in some dtype."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return ()
    import tensorflow as tf

    return (tf.errors.OpError,)


def _said(text: str) -> str:
    """Make one line of what a backend says, without what it says of its own graph and of files."""
    text = _MARKS.sub("", text).partition("Arguments received by")[0].partition("; NodeDef:")[0]
    paragraphs = [
        part for part in text.split("\n\n") if 'File "' not in part and not part.startswith(_ABOUT)
    ]
    return " ".join(" ".join(paragraphs or [text]).split())[:300]


def _wide(tensor: Any) -> str:
    """Return a dtype that numpy knows and that holds a tensor's values."""
    import keras

    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return "float32" if dtype in ("bfloat16", "float16") else dtype
