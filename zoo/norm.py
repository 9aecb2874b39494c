"""One object that says which normalization a model has, and where; every builder takes it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args

import pydantic

from zoo.errors import InputError, nearest
from zoo.lazily import keras
from zoo.settings import Flag, Number, Settings, Whole

Kind = Literal["batch", "batch_renorm", "group", "layer", "instance", "rms", "none"]
Placement = Literal["before_activation", "after_activation", "pre_activation"]

KINDS: tuple[str, ...] = get_args(Kind)
PLACEMENTS: tuple[str, ...] = get_args(Placement)


class Norm(Settings):
    """Which normalization a model's layers have, where it stands, and its constants.

    Args:
        kind: ``batch`` (Ioffe and Szegedy 2015), ``batch_renorm`` (Ioffe 2017), ``group`` (Wu and
            He 2018), ``layer`` (Ba et al. 2016; over the channels of each position, as in
            ConvNeXt), ``instance`` (Ulyanov et al. 2016; left out before an average over all
            positions and of maps of one position, see `zoo.instance`), ``rms`` (Zhang and Sennrich
            2019; over the channels of each position) or ``none``.
        placement: ``before_activation`` (convolution, norm, activation), ``after_activation``
            (convolution, activation, norm) or ``pre_activation`` (norm, activation, convolution;
            He et al. 2016). What it means in a family is said in that family's file.
        momentum: How much of the moving mean and variance is kept at each step, in (0, 1). For
            ``batch`` and ``batch_renorm``.
        epsilon: What is added to the variance before its square root, in (0, 1).
        center: Whether a shift (beta) is learned. RMS normalization never has one.
        scale: Whether a scale (gamma) is learned. RMS normalization always has one.
        groups: For ``group``: the number of groups. Where the channels cannot be divided so, the
            largest divisor below it that leaves at least two channels in a group (one channel
            would be instance normalization).
        synchronized: For ``batch`` and ``batch_renorm``: whether the statistics are those of the
            global batch over all devices.

    Raises:
        InputError: A value is unknown or out of its range.

    Example:
        >>> zoo.create_model("resnet20", norm=zoo.Norm("group", groups=8))
    """

    kind: Kind = "batch"
    placement: Placement = "before_activation"
    momentum: Annotated[Number, pydantic.Field(gt=0, lt=1)] = 0.9
    epsilon: Annotated[Number, pydantic.Field(gt=0, lt=1)] = 1e-5
    center: Flag = True
    scale: Flag = True
    groups: Annotated[Whole, pydantic.Field(ge=1)] = 32
    synchronized: Flag = False

    def __init__(self, /, kind: str = "batch", **values: Any) -> None:
        super().__init__(kind=kind, **values)

    @pydantic.field_validator("kind", "placement", mode="before")
    @classmethod
    def _known(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        options = KINDS if info.field_name == "kind" else PLACEMENTS
        if value not in options:
            raise ValueError(f"unknown {info.field_name} {value!r}; {nearest(str(value), options)}")
        return value

    @classmethod
    def of(cls, value: Union[str, "Norm", Mapping[str, Any], None]) -> "Norm":
        """Make a Norm of whatever a caller may pass for one.

        Args:
            value: A kind, a Norm, a mapping of its arguments, or None for no normalization.

        Returns:
            The Norm.

        Raises:
            InputError: It is none of these, or holds a value that is not accepted.
        """
        if isinstance(value, Norm):
            return value
        if value is None:
            return cls("none")
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return cls(**value)
        raise InputError(
            "norm: accepted are a kind, a zoo.Norm, a mapping of its arguments or None; "
            f"received {value!r}"
        )

    def at_inference(self) -> dict[str, Any]:
        """Choose the values that decide what a model with given weights computes.

        Returns:
            All but the momentum and whether statistics are synchronized, which matter in training
            only, and the groups where the kind has none.
        """
        unused = {"momentum", "synchronized"} | (set() if self.kind == "group" else {"groups"})
        return self.model_dump(exclude=unused)

    def layer(self, channels: int, *, name: str, gamma: float = 1.0) -> Any:
        """Make the Keras layer for a tensor whose last axis holds this many channels.

        Args:
            channels: The number of channels.
            name: The layer's name.
            gamma: The initial value of the scale.

        Returns:
            A keras.layers.Layer, or None for kind ``none``.
        """
        return _LAYERS[self.kind](self, channels, name, gamma)


def _batch(norm: Norm, channels: int, name: str, gamma: float) -> Any:
    return keras.layers.BatchNormalization(
        momentum=norm.momentum,
        epsilon=norm.epsilon,
        center=norm.center,
        scale=norm.scale,
        gamma_initializer=keras.initializers.Constant(gamma),
        # Elsewhere Keras refuses the flag; on JAX the statistics are the global batch's without it.
        synchronized=norm.synchronized and keras.backend.backend() == "tensorflow",
        renorm=norm.kind == "batch_renorm",
        name=name,
    )


def _grouped(norm: Norm, channels: int, name: str, gamma: float) -> Any:
    return keras.layers.GroupNormalization(
        groups=-1 if norm.kind == "instance" else group_count(channels, norm.groups),
        epsilon=norm.epsilon,
        center=norm.center,
        scale=norm.scale,
        gamma_initializer=keras.initializers.Constant(gamma),
        name=name,
    )


def _layer(norm: Norm, channels: int, name: str, gamma: float) -> Any:
    return keras.layers.LayerNormalization(
        epsilon=norm.epsilon,
        center=norm.center,
        scale=norm.scale,
        gamma_initializer=keras.initializers.Constant(gamma),
        name=name,
    )


def _rms(norm: Norm, channels: int, name: str, gamma: float) -> Any:
    return keras.layers.RMSNormalization(epsilon=norm.epsilon, name=name)


def _none(norm: Norm, channels: int, name: str, gamma: float) -> None:
    return None


_LAYERS = {
    "batch": _batch,
    "batch_renorm": _batch,
    "group": _grouped,
    "layer": _layer,
    "instance": _grouped,
    "rms": _rms,
    "none": _none,
}


def group_count(channels: int, groups: int) -> int:
    """Choose the number of groups that group normalization gets for so many channels.

    Args:
        channels: The number of channels.
        groups: The number asked for.

    Returns:
        The largest divisor of ``channels`` that is at most ``groups`` and leaves at least two
        channels in a group; 1 where there is none.
    """
    most = max(1, min(groups, channels // 2))
    return next(count for count in range(most, 0, -1) if channels % count == 0)
