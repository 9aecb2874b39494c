"""The optimizers that recipes name: Keras' own, with what a CNN's training needs of them.

Each can average the weights, see `Averaging`. None decays biases, factors of channels or the
parameters of norms.
"""

import re
from collections.abc import Callable
from typing import Any

import keras

from training.averaging import Averaging
from training.initial import NORMS
from training.recipe import Recipe
from zoo.errors import InputError


@keras.saving.register_keras_serializable(package="foldzoo")
class SGD(Averaging, keras.optimizers.SGD):
    """SGD whose weight decay is L2 regularization, as in He et al. and in PyTorch's SGD.

    The gradient becomes ``g + l2 * w`` before the momentum. Keras' own ``weight_decay`` is
    decoupled from it (``w -= lr * decay * w``), which at a momentum of 0.9 decays ten times less
    for the same number.

    Args:
        learning_rate: A number or a schedule.
        momentum: In [0, 1).
        nesterov: Whether the momentum is Nesterov's.
        l2: The factor of the decay. Biases and the parameters of norms, that is all variables
            with fewer than two axes, are not decayed, nor what `exclude_from_weight_decay` names.
        **kwargs: What a keras.optimizers.Optimizer and `Averaging` take.

    Reference:
        Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101 (the two kinds of decay).
    """

    def __init__(
        self,
        learning_rate: Any = 0.1,
        momentum: float = 0.9,
        nesterov: bool = True,
        l2: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, **kwargs
        )
        self.l2 = l2

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one variable by its gradient and decay."""
        if self.l2 and len(variable.shape) > 1 and self._use_weight_decay(variable):
            decay = keras.ops.cast(self.l2, variable.dtype)
            gradient = keras.ops.cast(gradient, variable.dtype) + decay * variable
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "l2": self.l2}


@keras.saving.register_keras_serializable(package="foldzoo")
class AdamW(Averaging, keras.optimizers.AdamW):
    """Adam with decoupled weight decay.

    Reference:
        Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101
    """


@keras.saving.register_keras_serializable(package="foldzoo")
class Lamb(Averaging, keras.optimizers.Lamb):
    """Adam whose step has, layer by layer, a length in proportion to the weights'.

    The weight decay is decoupled, as Keras has it; in the paper it is a part of that step.

    Reference:
        You et al. 2020, https://arxiv.org/abs/1904.00962
    """


@keras.saving.register_keras_serializable(package="foldzoo")
class Lion(Averaging, keras.optimizers.Lion):
    """The sign of a momentum, with decoupled weight decay.

    Reference:
        Chen et al. 2023, https://arxiv.org/abs/2302.06675
    """


@keras.saving.register_keras_serializable(package="foldzoo")
class Muon(Averaging, keras.optimizers.Muon):
    """Momentum whose steps are orthogonal matrices, also for convolutions.

    Keras' own leaves every kernel with more than two axes to Adam. Here the kernel of a
    convolution is the matrix of shape (height * width * in, out) that it multiplies patches by,
    as in Jordan's. Which variables are left to Adam, ``exclude_layers`` says; those with fewer
    than two axes always are.

    A step's root mean square is about ``rms_rate`` times the learning rate. At the default of 0.2
    that is about Adam's, so that one learning rate and one weight decay do for both.

    Args:
        *args: What keras.optimizers.Muon takes.
        **kwargs: What keras.optimizers.Muon and `Averaging` take.

    Reference:
        Jordan 2024, https://kellerjordan.github.io/posts/muon/;
        Liu et al. 2025, https://arxiv.org/abs/2502.16982 (the length of the steps).
    """

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """Make the matrix of an update nearly orthogonal; the result has the update's shape."""
        matrix = keras.ops.reshape(x, (-1, x.shape[-1]))
        return keras.ops.reshape(super().zeropower_via_newtonschulz5(matrix, steps), x.shape)

    def lr_adjust(self, x: Any) -> Any:
        """Scale an update by the sides of its matrix, not by the first axes of a kernel."""
        matrix = keras.ops.reshape(x, (-1, x.shape[-1]))
        return keras.ops.reshape(super().lr_adjust(matrix), x.shape)

    def _should_use_adamw(self, variable: Any) -> bool:
        """Say which variables are Adam's: Keras' rule, but for the number of axes."""
        if len(variable.shape) < 2:
            return True
        if self.exclude_embeddings and "embedding" in variable.path.lower():
            return True
        return any(re.search(pattern, variable.path) for pattern in self.exclude_layers)


def create(recipe: Recipe, model: Any, schedule: Any, *, steps: int) -> Any:
    """Make the optimizer of a recipe.

    Gradients are averaged over the steps of an accumulation first, then clipped; the decay comes
    after that. The steps at the end that are too few for an accumulation move nothing.

    Args:
        recipe: The recipe.
        model: The keras.Model that will be trained.
        schedule: The learning rate, from `training.schedules.create`.
        steps: The number of steps of the whole training.

    Returns:
        A keras.optimizers.Optimizer, not built.

    Raises:
        InputError: The accumulation is longer than the training, or the optimizer does not take
            the momentum.
    """
    if recipe.accumulation > steps:
        raise InputError(
            f"accumulation: accepted is at most the number of training steps, {steps}; "
            f"received {recipe.accumulation}"
        )
    made = _MAKERS[recipe.optimizer](
        recipe,
        model,
        learning_rate=schedule,
        global_clipnorm=recipe.clip_norm or None,
        # Keras counts the learning rate's steps, unlike Adam's, as if nothing were accumulated.
        gradient_accumulation_steps=recipe.accumulation if recipe.accumulation > 1 else None,
        average=recipe.average,
    )
    made.exclude_from_weight_decay(var_list=undecayed(model))
    return made


def undecayed(model: Any) -> list[Any]:
    """List the variables that have no weight decay: biases, factors and all that is a norm's.

    Args:
        model: The keras.Model.

    Returns:
        Its trainable variables with fewer than two axes, and those of its norms and of its 1x1
        depthwise convolutions, which are a factor for each channel.
    """
    spared = [
        layer for layer in model._flatten_layers() if isinstance(layer, NORMS) or _scales(layer)
    ]
    theirs = {id(variable) for layer in spared for variable in layer.trainable_variables}
    return [
        variable
        for variable in model.trainable_variables
        if len(variable.shape) < 2 or id(variable) in theirs
    ]


def _scales(layer: Any) -> bool:
    """Say whether a layer only scales each channel, as ConvNeXt's LayerScale does."""
    return isinstance(layer, keras.layers.DepthwiseConv2D) and tuple(layer.kernel_size) == (1, 1)


def hidden_kernels(model: Any) -> list[Any]:
    """List the variables that Muon is for.

    Args:
        model: The keras.Model, from images to logits.

    Returns:
        The kernels of its convolutions and dense layers, but for the first and the last of these
        layers. The kernels of depthwise and grouped convolutions are not among them: they are no
        matrices, but many small ones side by side.
    """
    kinds = (
        keras.layers.Conv1D,
        keras.layers.Conv2D,
        keras.layers.Conv3D,
        keras.layers.Dense,
    )
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, kinds)]
    return [layer.kernel for layer in layers[1:-1] if getattr(layer, "groups", 1) == 1]


def _sgd(recipe: Recipe, model: Any, **common: Any) -> SGD:
    return SGD(momentum=recipe.momentum, nesterov=recipe.nesterov, l2=recipe.weight_decay, **common)


def _adamw(recipe: Recipe, model: Any, **common: Any) -> AdamW:
    return AdamW(
        beta_1=recipe.momentum,
        beta_2=recipe.beta_2,
        weight_decay=recipe.weight_decay,
        **common,
    )


def _muon(recipe: Recipe, model: Any, **common: Any) -> Muon:
    matrices = {id(kernel) for kernel in hidden_kernels(model)}
    return Muon(
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        adam_beta_2=recipe.beta_2,
        weight_decay=recipe.weight_decay or None,
        adam_weight_decay=recipe.weight_decay or None,
        exclude_layers=[
            f"^{re.escape(variable.path)}$"
            for variable in model.trainable_variables
            if id(variable) not in matrices
        ],
        **common,
    )


def _lamb(recipe: Recipe, model: Any, **common: Any) -> Lamb:
    return Lamb(
        beta_1=recipe.momentum,
        beta_2=recipe.beta_2,
        weight_decay=recipe.weight_decay or None,
        **common,
    )


def _lion(recipe: Recipe, model: Any, **common: Any) -> Lion:
    if not recipe.momentum:
        raise InputError(
            f"momentum: accepted is more than 0 with optimizer 'lion'; received {recipe.momentum}"
        )
    return Lion(
        beta_1=recipe.momentum,
        beta_2=recipe.beta_2,
        weight_decay=recipe.weight_decay or None,
        **common,
    )


_MAKERS: dict[str, Callable[..., Any]] = {
    "sgd": _sgd,
    "adamw": _adamw,
    "muon": _muon,
    "lamb": _lamb,
    "lion": _lion,
}
