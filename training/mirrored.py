"""Several devices of one host on TensorFlow, by its MirroredStrategy.

Every device holds the whole model and computes its part of each batch; gradients are summed over
the devices. Keras' ``train_on_batch`` gives each of them whatever it gets: arrays as a whole, but
values of the strategy part by part, and such are made here. What is a device's own in Keras and has
to be the batch's is changed in the model's layers: the statistics of BatchNorm are taken over all
devices, and each device draws its own chances.

Reference:
    https://www.tensorflow.org/api_docs/python/tf/distribute/MirroredStrategy
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from training.group import Group
from zoo.errors import InputError
from zoo.lazily import keras

if TYPE_CHECKING:
    from training.recipe import Recipe


def devices() -> list[str]:
    """List what TensorFlow can compute on, without starting it: all GPUs, or else all CPUs.

    Returns:
        Names such as ``GPU:0``. A CPU is one device unless TensorFlow was told to divide it.
    """
    import tensorflow as tf

    for kind in ("GPU", "CPU"):
        parts = [
            part
            for device in tf.config.list_physical_devices(kind)
            for part in tf.config.get_logical_device_configuration(device) or (None,)
        ]
        if parts:
            return [f"{kind}:{number}" for number in range(len(parts))]
    return []


class Mirrored(Group):
    """Several devices of this process that train as one.

    Args:
        names: The devices, from `devices`; at least two.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = list(names)
        self._prepared: Any = None

    @property
    def devices(self) -> int:
        """The number of devices."""
        return len(self._names)

    @property
    def _strategy(self) -> Any:
        """TensorFlow's strategy; made at first use, since it starts TensorFlow."""
        return _strategy_of(*self._names)

    def check_recipe(self, recipe: "Recipe") -> None:
        """Make sure that a training is computed as on one device.

        Args:
            recipe: What is to be trained.

        Raises:
            InputError: Keras would clip or gather the gradients of each device for itself.
        """
        refused = {"clip_norm": (recipe.clip_norm, 0.0), "accumulation": (recipe.accumulation, 1)}
        for key, (received, accepted) in refused.items():
            if received != accepted:
                raise InputError(
                    f"{key}: accepted on several devices of TensorFlow is {accepted}, since Keras "
                    "treats the gradients of each device apart; received "
                    f"{received}; on JAX (KERAS_BACKEND=jax) it is accepted"
                )

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Have what Keras makes meanwhile lie on all devices."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have what Keras makes meanwhile lie on one device; only within `scope`."""
        self._leave()
        try:
            yield
        finally:
            self._enter()

    def _enter(self) -> None:
        self._scope = self._strategy.scope()
        self._scope.__enter__()

    def _leave(self) -> None:
        self._scope.__exit__(None, None, None)

    def adapt(self, model: Any) -> None:
        """Have BatchNorm take its statistics over all devices, and each draw its own chances."""
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.call = functools.partial(_synchronized, layer)
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                generator.next = functools.partial(_own_seed, generator)

    def jit_compile(self, precision: str) -> Literal[False]:
        """Say what Keras' ``compile`` is told: XLA has no sums over devices of the strategy."""
        return False

    def step(self, model: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """Train on a global batch, of which each device takes its part.

        Args:
            model: Compiled, its optimizer built, made in `scope`.
            images: The batch; the number of devices divides it.
            labels: Its classes.

        Returns:
            What ``train_on_batch`` tells of the whole batch.
        """
        if self._prepared is not model:
            # Metrics make their variables at first use, which inside a step the strategy forbids.
            few = self.devices
            model.evaluate(images[:few], labels[:few], batch_size=few, verbose=0)
            self._prepared = model
        told: dict[str, Any] = model.train_on_batch(
            self._parts(images), self._parts(labels), return_dict=True
        )
        return told

    def _parts(self, batch: np.ndarray) -> Any:
        """Divide an array into one value of the strategy, a part for each device."""
        count = len(batch) // self.devices

        def part(context: Any) -> Any:
            number = context.replica_id_in_sync_group
            return keras.ops.convert_to_tensor(batch[number * count : (number + 1) * count])

        return self._strategy.experimental_distribute_values_from_function(part)

    def _predict(self, model: Any) -> Callable[[np.ndarray], np.ndarray]:
        """Make a function from a batch to the logits that all devices compute."""
        import tensorflow as tf

        @tf.function(reduce_retracing=True, autograph=False)
        def forward(images: Any) -> Any:
            return self._strategy.run(functools.partial(model, training=False), args=(images,))

        def predict(batch: np.ndarray) -> np.ndarray:
            made = forward(self._parts(self.filled(batch)))
            parts = self._strategy.experimental_local_results(made)
            logits = [keras.ops.convert_to_numpy(keras.ops.cast(part, "float32")) for part in parts]
            return np.concatenate(logits)[: len(batch)]

        return predict


@functools.cache
def _strategy_of(*names: str) -> Any:
    """Make the one strategy of some devices.

    TensorFlow numbers the sums over devices by strategy, and takes those of a second one for sums
    of the first that have another shape.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names)


def _synchronized(layer: Any, *inputs: Any, **options: Any) -> Any:
    """Compute what Keras' BatchNorm does, with the moments of all devices."""
    before, layer.synchronized = layer.synchronized, True
    try:
        return type(layer).call(layer, *inputs, **options)
    finally:
        layer.synchronized = before  # which the model's file tells


def _own_seed(generator: Any, *values: Any, **options: Any) -> Any:
    """Draw the next seed of a random layer, another one on each device."""
    import tensorflow as tf

    seed = type(generator).next(generator, *values, **options)
    context = tf.distribute.get_replica_context()
    if context is None:
        return seed
    return seed + tf.cast([context.replica_id_in_sync_group, 0], seed.dtype)
