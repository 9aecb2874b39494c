"""How float32 answers of models that normalize by the data itself scatter.

Group, layer, instance and RMS normalization divide by a deviation that is measured on the image. On
a nearly constant channel it is small, and then the rounding of what comes in is most of what goes
out. One float32 run of such a model is one draw: by luck it may be near the exact answer when no
other order of summation is. Monte Carlo arithmetic draws more: the model is run again with the
output of each convolution and dense layer moved by a random part of what rounding may move it.

Reference:
    Parker 1997, Monte Carlo Arithmetic, UCLA CSD-970002
"""

from typing import Any

import keras

from export import graph, graph_reading

# A convolution sums hundreds of products, and where they cancel its rounding does not shrink with
# the result: it is about one unit in the last place (2^-23) of the largest number around.
_MOVE = 2.0**-23

_BY_THE_DATA = (
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.UnitNormalization,
)


class RoundingNoise(keras.layers.Layer):
    """Move each number by a random part of the rounding of the largest one in its image.

    Args:
        seed: What the draws start from; they go on from call to call.
    """

    def __init__(self, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any) -> Any:
        """Move (batch, ...) to the same shape."""
        axes = tuple(range(1, len(inputs.shape)))
        largest = keras.ops.max(keras.ops.abs(inputs), axis=axes, keepdims=True)
        draw = keras.random.uniform(
            keras.ops.shape(inputs), -_MOVE, _MOVE, dtype=inputs.dtype, seed=self.generator
        )
        return inputs + largest * draw

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "seed": self.seed}


def noisy(model: keras.Model) -> keras.Model | None:
    """Build the model in float32 with noise behind each layer that sums.

    Args:
        model: A functional or Sequential model.

    Returns:
        A new model that answers a little otherwise at each call; what it answers at its nth call
        is always the same. None where no layer normalizes by the data: such a model, one with
        BatchNorms for example, amplifies no rounding, and its one float32 run is enough.
    """
    found = graph_reading.read(model)
    if not any(issubclass(layer.cls, _BY_THE_DATA) for layer in found.layers()):
        return None
    for number, call in enumerate(list(found.calls)):
        if _sums(call):
            name = found.free_name(f"rounding_{number}")
            config = {"name": name, "seed": number}
            found.insert_after(call, graph.Layer(name, RoundingNoise, config))
    return graph.build(found, "float32")


def _sums(call: graph.Call) -> bool:
    """Say whether a call sums over inputs by learned weights: a convolution, a dense layer."""
    learned = bool(getattr(call.layer.source, "weights", ()))
    return learned and len(call.outputs) == 1 and not issubclass(call.layer.cls, _BY_THE_DATA)
