"""The models that can be built by name, and how a family, ours or a user's, joins them."""

import hashlib
import importlib.util
import inspect
import math
import os
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from zoo.errors import InputError, nearest
from zoo.files import expanded, is_file
from zoo.norm import Norm
from zoo.policies import asked
from zoo.settings import Flag, Number, Settings, Whole

if TYPE_CHECKING:
    import keras

Padding = Literal["symmetric", "same"]
FAMILIES_VARIABLE = "FOLDZOO_FAMILIES"

Size = Annotated[Whole, pydantic.Field(ge=1)]


class Options(Settings):
    """What a caller may ask of any model; a builder gets one, complete and checked.

    Args:
        input_shape: Height, width and channels of one image. Height and width may be None, for a
            model that takes images of any size.
        num_classes: The number of logits.
        norm: The normalization of every layer that has one.
        dropout: The rate of the dropout before the logits, in [0, 1).
        stochastic_depth: The rate at which training leaves the last residual branch out, in
            [0, 1); it rises linearly from the first branch on. Only 0 where there are none.
        include_top: Whether pooling and logits are there; without them the output is the last
            feature map.
        features_only: Whether the outputs are the last feature map at each stride, by name
            (``stride_1``, ``stride_2``, ...), instead of the logits.
        width: The factor on the number of channels of each layer, in (0, 16].
        padding: How strided convolutions and poolings are padded that the design does not leave
            unpadded: ``symmetric``, as in the papers' code, PyTorch and the ResNets of
            keras.applications; or ``same``, as TensorFlow pads, which is one row and column more
            at the bottom and right where the size is even. Weights compute the same only with the
            padding that they were trained with.

    Raises:
        InputError: A value is out of its range.
    """

    input_shape: tuple[Size | None, Size | None, Size]
    num_classes: Size
    norm: Norm = Norm()
    dropout: Annotated[Number, pydantic.Field(ge=0, lt=1)] = 0.0
    stochastic_depth: Annotated[Number, pydantic.Field(ge=0, lt=1)] = 0.0
    include_top: Flag = True
    features_only: Flag = False
    width: Annotated[Number, pydantic.Field(gt=0, le=16)] = 1.0
    padding: Padding = "symmetric"

    def channels(self, count: int) -> int:
        """Scale a number of channels by the width, to a multiple of 8, or of what is in the design.

        Of 12 channels, which 4 divides and 8 does not, multiples of 4 are made.
        """
        unit = math.gcd(count, 8)
        return max(unit, unit * round(count * self.width / unit))


Builder = Callable[[Options], "keras.Model"]


@dataclass(frozen=True)
class Entry:
    """What the registry knows of a model without building it."""

    name: str
    build: Builder
    input_shape: tuple[int | None, int | None, int]
    num_classes: int
    min_size: int
    paper: str
    norm: Norm
    parameters: int | None


class DefaultForm(Settings):
    """What `register_model` is told of a model's default form, checked.

    Args:
        input_shape: Height, width and channels; height and width may be None, for any.
        num_classes: The number of logits.
        min_size: The smallest height and width, in pixels.
        norm: The normalization.
        parameters: How many values are trained; None where it is not known.

    Raises:
        InputError: A value is out of its range.
    """

    input_shape: tuple[Size | None, Size | None, Size]
    num_classes: Size
    min_size: Size
    norm: Norm
    parameters: Size | None


_BATCH = Norm()
_MODELS: dict[str, Entry] = {}


def register_model(
    *,
    input_shape: tuple[int | None, int | None, int],
    num_classes: int,
    paper: str,
    min_size: int = 1,
    norm: Any = _BATCH,
    parameters: int | None = None,
) -> Callable[[Builder], Builder]:
    """Make a decorator that adds a builder to the registry, under the name of the function.

    Args:
        input_shape: The default height, width and channels; height and width may be None, for any.
        num_classes: The default number of logits.
        paper: Where the design was published, with its address.
        min_size: The smallest height and width, in pixels, that the design allows.
        norm: The normalization of the design, which a caller gets that asks for none; what
            `Norm.of` takes.
        parameters: How many values the default form trains, by the paper's or an official table,
            where there is one; the tests hold the model to it.

    Returns:
        A decorator for a function that takes `zoo.Options` and returns a keras.Model.

    Raises:
        InputError: Another function has that name in the registry already, it has none, there is no
            paper, or a value is out of its range.

    Example:
        >>> @zoo.register_model(input_shape=(32, 32, 3), num_classes=10, paper="mine")
        ... def tiny(options):
        ...     image = blocks.image(options)
        ...     x = blocks.conv_norm_act(image, 8, 3, norm=options.norm, name="stem")
        ...     return blocks.model(options, image, {1: x}, name="tiny")
        >>> zoo.create_model("tiny")
    """
    if not isinstance(paper, str) or not paper:
        raise InputError(
            f"paper: accepted is where the design was published, a text; received {paper!r}"
        )
    form = DefaultForm(
        input_shape=input_shape,
        num_classes=num_classes,
        min_size=min_size,
        norm=Norm.of(norm),
        parameters=parameters,
    )

    def register(build: Builder) -> Builder:
        if not inspect.isfunction(build) or build.__name__ == "<lambda>":
            raise InputError(
                f"accepted is a function that has a name, the model's; received {build!r}"
            )
        name = build.__name__
        known = _MODELS.get(name)
        if known is not None and not _is_same(known.build, build):
            raise InputError(
                f"a model named {name!r} is registered already, by {_where(known.build)}; "
                "name the function otherwise"
            )
        _MODELS[name] = Entry(name=name, build=build, paper=paper, **dict(form))
        return build

    return register


def _is_same(one: Builder, other: Builder) -> bool:
    """Say whether two builders of one name are of one module, or one file in two modules."""
    if one.__module__ == other.__module__:
        return True
    files = [Path(inspect.unwrap(build).__code__.co_filename) for build in (one, other)]
    return is_file(files[0]) and files[0].resolve() == files[1].resolve()


def entries() -> dict[str, Entry]:
    """Import every family and return the registry, by name.

    Families are the modules of `zoo.families`, and the Python files that the environment variable
    FOLDZOO_FAMILIES lists.
    """
    import zoo.families as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    for part in os.environ.get(FAMILIES_VARIABLE, "").split(os.pathsep):
        if part:
            _import_file(expanded(part))
    return dict(sorted(_MODELS.items()))


def _import_file(path: Path) -> None:
    """Run a file of somebody's own that registers models, once."""
    if path.suffix != ".py" or not is_file(path):
        raise InputError(f"{FAMILIES_VARIABLE}: accepted are Python files; received {path}")
    # Two files of one name in different folders are two modules.
    place = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]
    name = f"foldzoo_family_{path.stem}_{place}"
    if name in sys.modules:
        return
    spec: Any = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses, for one, look it up meanwhile
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception | SystemExit):
            raise
        what = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        why = " ".join(f"{what}{error}".split())
        raise InputError(f"{path} cannot be imported: {why}") from error


def _where(build: Builder) -> str:
    """Name the file of somebody's own that a builder is in, or the module of ours."""
    module = build.__module__
    path = getattr(sys.modules.get(module), "__file__", None)
    return path if path and module.startswith("foldzoo_family_") else module


def resolved_norm(name: str, norm: Any) -> Norm:
    """Make a Norm of whatever `create_model` may be passed for one.

    Args:
        name: The model's name.
        norm: What `Norm.of` takes, or ``default`` for that of the design.

    Returns:
        The norm.

    Raises:
        InputError: There is no such model, or no such norm.
    """
    found = entry(name).norm
    return found if isinstance(norm, str) and norm == "default" else Norm.of(norm)


def entry(name: str) -> Entry:
    """Look a model up.

    Args:
        name: Its name, for example ``resnet20``.

    Returns:
        Its entry.

    Raises:
        InputError: There is none of that name; the nearest names are told.
    """
    known = entries()
    if not isinstance(name, str):
        raise InputError(f"accepted is a model's name, for example 'resnet20'; received {name!r}")
    if name not in known:
        raise InputError(f"unknown model {name!r}; {nearest(name, known)}")
    return known[name]


def list_models(
    pattern: str = "*",
    pretrained: bool = False,
    *,
    dataset: str | None = None,
    max_parameters: float | None = None,
    min_accuracy: float | None = None,
) -> list[str]:
    """List the models that can be built, or those with weights.

    Args:
        pattern: A shell-style pattern that the whole name must match.
        pretrained: Whether to list weights (``resnet20.digits``) instead of architectures
            (``resnet20``). ``dataset`` and ``min_accuracy`` ask for that too.
        dataset: A shell-style pattern for the data that the weights were trained on.
        max_parameters: The most parameters that are trained; see `zoo.catalogue.Row`.
        min_accuracy: The least accuracy of the weights, a fraction.

    Returns:
        The names, sorted.

    Raises:
        InputError: No weights were trained on such data, or a number is out of its range.

    Example:
        >>> zoo.list_models("resnet50*")
        ['resnet50', 'resnet50_v1_5', 'resnet50_v2']
    """
    from zoo.catalogue import rows

    found = rows(
        pattern,
        pretrained,
        dataset=dataset,
        max_parameters=max_parameters,
        min_accuracy=min_accuracy,
    )
    return [row.name for row in found]


def create_model(
    name: str,
    *,
    input_shape: tuple[int | None, int | None, int] | None = None,
    num_classes: int | None = None,
    norm: Any = "default",
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    include_top: bool = True,
    features_only: bool = False,
    width: float = 1.0,
    padding: str = "symmetric",
    dtype: str | None = None,
) -> "keras.Model":
    """Build a model by name, with new weights.

    The model takes preprocessed images, float, (batch, height, width, channels), and returns
    logits, float32, (batch, num_classes). Under a mixed-precision policy it computes in that.

    Args:
        name: A name from `zoo.list_models`.
        input_shape: Height, width, channels; None for the model's own default.
        num_classes: The number of logits; None for the model's own default.
        norm: A normalization kind, a `zoo.Norm`, None for no normalization, or ``default`` for
            that of the design, which is batch normalization but for a few.
        dropout: The rate of the dropout before the logits, in [0, 1).
        stochastic_depth: The rate at which training leaves the last residual branch out, image by
            image, in [0, 1); it rises linearly from the first branch on.
        include_top: Whether pooling and logits are there.
        features_only: Whether to return the feature maps by stride instead of the logits.
        width: The factor on the number of channels, in (0, 16].
        padding: How strided layers are padded, ``symmetric`` or ``same``; see `zoo.Options`.
        dtype: A Keras dtype policy by name, for example ``mixed_bfloat16`` or ``float64``; None
            for the one that Keras is set to.

    Returns:
        A keras.Model with the input ``image`` and the output ``logits``.

    Raises:
        InputError: The name is unknown, an option is out of its range, ``stochastic_depth`` is
            asked for where there are no residual branches, there is no such dtype policy, or Keras
            is set to images whose channels come first.

    Example:
        >>> model = zoo.create_model("resnet20", norm="group", num_classes=100)
    """
    found = entry(name)
    options = Options(
        input_shape=found.input_shape if input_shape is None else input_shape,
        num_classes=found.num_classes if num_classes is None else num_classes,
        norm=resolved_norm(name, norm),
        dropout=dropout,
        stochastic_depth=stochastic_depth,
        include_top=include_top,
        features_only=features_only,
        width=width,
        padding=padding,
    )
    small = [side for side in options.input_shape[:2] if side is not None and side < found.min_size]
    if small:
        raise InputError(
            f"{name} takes images of at least {found.min_size}x{found.min_size} pixels; "
            f"received input_shape={options.input_shape}"
        )
    import keras

    if keras.config.image_data_format() != "channels_last":
        raise InputError(
            "Keras' image_data_format: accepted is 'channels_last'; received "
            f"{keras.config.image_data_format()!r}"
        )
    with asked(dtype):
        model = found.build(options)
    if not isinstance(model, keras.Model):
        raise InputError(
            f"{name}: accepted is a builder that returns a keras.Model; that of "
            f"{_where(found.build)} returned {model!r}"
        )
    return model
