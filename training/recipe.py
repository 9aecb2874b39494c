"""Recipes: everything that a training depends on, in one validated TOML file."""

import fnmatch
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import tomli_w

from training.overrides import assign, parse
from training.precision import Precision
from training.views import Views
from zoo.errors import InputError, differences, nearest
from zoo.files import is_file, write_text
from zoo.norm import Norm
from zoo.registry import Padding, entries, entry
from zoo.settings import Flag, Number, Settings, Whole

FOLDER = Path(__file__).parent / "recipes"

Epochs = Annotated[Whole, pydantic.Field(ge=1, le=100_000)]
Pixels = Annotated[Whole, pydantic.Field(ge=0, le=1024)]
Share = Annotated[Number, pydantic.Field(ge=0, lt=1)]


class Augmentation(Settings):
    """How training images are varied, anew in each epoch, in the order of these keys.

    Cutout, mixup and cutmix work on preprocessed images, the others before.

    Args:
        pad_crop: How many zero pixels are put on each side before a crop of the image's own size
            is taken at random; 0 to 1024, 0 for none.
        random_resized_crop: The smallest share of the area that a random crop has, which is then
            brought to the image's size; in [0, 1), 0 for none. Not with ``pad_crop``.
        flip: Whether every second image, at random, is mirrored left to right.
        alternate_flip: Whether an image is mirrored in every second epoch instead, half of them
            in the first. With ``flip`` only.
        rand_augment: How many random operations each image gets ("RandAugment"), 0 to 14, 0 for
            none.
        rand_augment_magnitude: How strong they are, 0 to 30.
        cutout: The side in pixels of a square that is set to the data's mean colour at a random
            place, over the border too; 0 to the side of the images, 0 for none.
        mixup: The alpha of the Beta distribution of the shares by which each batch is averaged
            with itself in another order; 0.001 to 100, 0 for none.
        cutmix: The alpha of the Beta distribution of the share of the area that images get from
            others of their batch; 0.001 to 100, 0 for none. With ``mixup`` too each batch gets one
            of the two, each as likely.

    Raises:
        InputError: A value is out of its range, or two do not go together.
    """

    pad_crop: Pixels = 0
    random_resized_crop: Share = 0.0
    flip: Flag = False
    alternate_flip: Flag = False
    rand_augment: Annotated[Whole, pydantic.Field(ge=0, le=14)] = 0
    rand_augment_magnitude: Annotated[Whole, pydantic.Field(ge=0, le=30)] = 9
    cutout: Pixels = 0
    mixup: Annotated[Number, pydantic.Field(ge=0, le=100)] = 0.0
    cutmix: Annotated[Number, pydantic.Field(ge=0, le=100)] = 0.0

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Augmentation":
        if self.pad_crop and self.random_resized_crop:
            raise ValueError(
                "random_resized_crop: accepted is 0 with pad_crop, since both crop; "
                f"received {self.random_resized_crop} with pad_crop {self.pad_crop}"
            )
        if self.alternate_flip and not self.flip:
            raise ValueError(
                "alternate_flip: accepted is true with flip only; received true with flip false"
            )
        for name, alpha in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            # Still smaller ones mix nothing, and their Beta distribution underflows.
            if 0 < alpha < 0.001:
                raise ValueError(f"{name}: accepted are 0 and 0.001 to 100; received {alpha}")
        return self


class Recipe(Settings):
    """Everything that a training depends on, but for where its data lies.

    Args:
        name: ``arch.tag``, for example ``resnet20.digits``.
        arch: A name from `zoo.list_models`.
        dataset: ``digits``, the name of a tensorflow-datasets set of labelled images, or
            ``folder:PATH``, a folder of images by class.
        skip_corrupt: Whether images that cannot be read are left out instead of refused.
        image_size: Height and width in pixels that images are brought to; 0 for the set's own.
        norm: The normalization; see `zoo.Norm`. A kind alone, such as ``group``, is accepted; left
            out, it is that of the architecture's design.
        width: The factor on the number of channels, in (0, 16].
        padding: How strided layers are padded, ``symmetric`` or ``same``; see `zoo.Options`.
        dropout: The rate of the dropout before the logits, in [0, 1).
        stochastic_depth: The rate at which the last residual branch is left out, in [0, 1); it
            rises linearly from the first branch on.
        weights: Pretrained weights to begin with, ``arch.tag`` or a ``.keras`` file with its card
            beside it; empty for random ones. Logits for other classes than theirs begin at random.
        freeze: Name patterns, as a shell writes them, of layers that are not trained.
        freeze_norm: Whether every norm keeps its parameters and statistics.
        zero_last_gamma: Whether the norm that ends a residual branch begins with gamma 0, so that
            each block begins as its shortcut.
        whiten: Over how many training images, not augmented, the patches are taken that the first
            convolution begins as and keeps: they whiten the images, and their negations are there
            too. All images where there are fewer. Its bias is trained. 0 for random filters.
        identity: Whether convolutions that keep the size of their input, all but the first, begin
            with one filter for each of its channels that passes it on.
        epochs: How often each training image is seen, 1 to 100,000.
        batch_size: The number of images in a step, 1 to 1,000,000. What is left of an epoch is
            seen in another one: each epoch has an order of its own.
        optimizer: ``sgd``, ``adamw``, ``muon``, ``lamb`` or ``lion``.
        learning_rate: Its highest value, at the end of the warm-up, in (0, 100].
        momentum: In [0, 1); the first beta of ``adamw``, ``lamb`` and ``lion``.
        nesterov: Whether the momentum of ``sgd`` and ``muon`` is Nesterov's.
        beta_2: The second beta of ``adamw``, ``lamb`` and ``lion``, in [0, 1).
        weight_decay: In [0, 1); not on norm parameters or biases. Of ``sgd`` the factor of L2
            regularization (half its square's, as in the papers); of the others decoupled.
        schedule: How the learning rate goes on after the warm-up: ``cosine``, half of one down to
            0; ``linear``, down to 0; ``step``, times ``decay_factor`` at each milestone;
            ``one_cycle``, up to its highest value until 30 % of all steps and down to 0, both as
            half cosines; ``constant``.
        milestones: The epochs after which ``step`` steps, ascending, each in (0, epochs).
        decay_factor: See ``schedule``, in (0, 1).
        warmup_epochs: How long the learning rate rises linearly at first, in [0, epochs).
        clip_norm: The largest norm that all gradients together may have, in [0, 1e6]; 0 for any.
        accumulation: Over how many steps gradients are averaged before the weights move, 1 to
            1,000.
        average: The decay of an exponential moving average of the weights, in [0, 1); 0 for none.
            The average is what is measured and kept.
        statistics_images: Over how many training images, not augmented, the statistics of every
            BatchNorm are taken anew at the end ("precise BN"); 0 for those of the training, or
            with an ``average`` 8,192.
        label_smoothing: The share of the target that is spread over all classes, in [0, 1).
        augmentation: How training images are varied; see `Augmentation`.
        holdout: The share of the training images that is held out to make choices by, in
            [0, 0.5]; measured after each epoch as validation. Always the same images of a set.
        views: From how many views of each test image the finished model's accuracy is measured
            too, 1, 2 or 6, for figures that were measured so; see `training.views`. With 1 it is
            that of the image alone and nothing else.
        precision: ``float32``, ``mixed_float16``, ``mixed_bfloat16``, or ``auto``:
            ``mixed_float16`` on a GPU, ``mixed_bfloat16`` on CPUs, and ``float32`` on those where
            TensorFlow computes bfloat16 slowly; see `training.precision`.
        seed: Of the first weights, the order and the augmentation, 0 to 2**32 - 1.
        checkpoint_epochs: A checkpoint is written each time so many epochs are done, 1 to
            100,000. It is also written on Ctrl-C.
        notes: What a reader of the numbers should know; they go into the card.

    Raises:
        InputError: A key is unknown, or a value is out of its range.

    Example:
        >>> recipe = training.Recipe.load("resnet20.digits", ["epochs=2", "norm.kind=group"])
    """

    name: Annotated[str, pydantic.Field(pattern=r"^[\w-]+\.[\w.-]+$")]
    arch: str
    dataset: Annotated[str, pydantic.Field(pattern=r"^([\w./:-]+|folder:[^\x00-\x1f]+)$")]
    skip_corrupt: Flag = False
    image_size: Pixels = 0
    norm: Norm = Norm()
    width: Annotated[Number, pydantic.Field(gt=0, le=16)] = 1.0
    padding: Padding = "symmetric"
    dropout: Share = 0.0
    stochastic_depth: Share = 0.0
    weights: Annotated[str, pydantic.Field(pattern=r"^([\w-]+\.[\w.-]+)?$|\.keras$")] = ""
    freeze: tuple[str, ...] = ()
    freeze_norm: Flag = False
    zero_last_gamma: Flag = False
    whiten: Annotated[Whole, pydantic.Field(ge=0)] = 0
    identity: Flag = False
    epochs: Epochs
    batch_size: Annotated[Whole, pydantic.Field(ge=1, le=1_000_000)] = 128
    optimizer: Literal["sgd", "adamw", "muon", "lamb", "lion"] = "sgd"
    learning_rate: Annotated[Number, pydantic.Field(gt=0, le=100)] = 0.1
    momentum: Share = 0.9
    nesterov: Flag = True
    beta_2: Share = 0.999
    weight_decay: Share = 0.0
    schedule: Literal["cosine", "linear", "step", "one_cycle", "constant"] = "cosine"
    milestones: tuple[Annotated[Number, pydantic.Field(gt=0)], ...] = ()
    decay_factor: Annotated[Number, pydantic.Field(gt=0, lt=1)] = 0.1
    warmup_epochs: Annotated[Number, pydantic.Field(ge=0)] = 0.0
    clip_norm: Annotated[Number, pydantic.Field(ge=0, le=1e6)] = 0.0
    accumulation: Annotated[Whole, pydantic.Field(ge=1, le=1000)] = 1
    average: Share = 0.0
    statistics_images: Annotated[Whole, pydantic.Field(ge=0)] = 0
    label_smoothing: Share = 0.0
    augmentation: Augmentation = Augmentation()
    holdout: Annotated[Number, pydantic.Field(ge=0, le=0.5)] = 0.0
    views: Views = 1
    precision: Literal["auto", Precision] = "auto"
    seed: Annotated[Whole, pydantic.Field(ge=0, lt=2**32)] = 0
    checkpoint_epochs: Epochs = 1
    notes: tuple[str, ...] = ()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _norm_of_the_design(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(values.get("arch"), str):
            return values
        known = entries().get(values["arch"])
        if known is None:
            return values
        norm = values.get("norm", known.norm)
        if isinstance(norm, Mapping) and "kind" not in norm:
            norm = {**known.norm.model_dump(), **norm}
        return {**values, "norm": norm}

    @pydantic.field_validator("norm", mode="before")
    @classmethod
    def _norm(cls, value: Any) -> Norm:
        return Norm.of(value)

    @pydantic.field_validator("arch")
    @classmethod
    def _known(cls, value: str) -> str:
        return entry(value).name

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if not self.name.startswith(f"{self.arch}."):
            raise ValueError(f"name: accepted is {self.arch}.<tag>; received {self.name!r}")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs: accepted is less than epochs, that is {self.epochs}; "
                f"received {self.warmup_epochs}"
            )
        self._check_schedule()
        return self

    def _check_schedule(self) -> None:
        """Refuse milestones that are missing, out of order, or of another schedule."""
        ascending = list(self.milestones) == sorted(set(self.milestones))
        inside = all(milestone < self.epochs for milestone in self.milestones)
        if bool(self.milestones) != (self.schedule == "step") or not ascending or not inside:
            raise ValueError(
                f"milestones: accepted are ascending epochs below {self.epochs}, with schedule "
                f"'step' and no other; received {list(self.milestones)} with {self.schedule!r}"
            )
        if self.schedule == "one_cycle" and self.warmup_epochs:
            raise ValueError(
                "warmup_epochs: accepted is 0 with schedule 'one_cycle', which rises by itself; "
                f"received {self.warmup_epochs}"
            )

    @classmethod
    def load(
        cls,
        recipe: "str | os.PathLike[str] | Recipe",
        overrides: Iterable[str] = (),
        **values: Any,
    ) -> "Recipe":
        """Read a recipe and change some of its values.

        Args:
            recipe: A name from `list_recipes`, the path of a TOML file, or a Recipe.
            overrides: Texts such as ``epochs=2`` or ``norm.kind=group``. The value is read as
                TOML; what is not TOML is taken as a string.
            **values: The same as Python values; they win over the texts.

        Returns:
            The recipe. Where ``arch`` is changed and ``name`` is not, the name follows it; so does
            a norm that was the old design's own, as that of a file without a norm is.

        Raises:
            InputError: The recipe is unknown, the file is not one, or a key or value is not
                accepted.

        Example:
            >>> training.Recipe.load("resnet20.cifar10", epochs=1)
        """
        if isinstance(recipe, Recipe):
            table, where = recipe.model_dump(mode="json"), ""
            if recipe.norm == entry(recipe.arch).norm:
                del table["norm"]
        else:
            path = _find(recipe)
            table, where = _read(path), f"{path}: "
        if where:
            try:
                cls(**table)
            except InputError as error:
                raise InputError(f"{where}{error}") from error
        changes = [parse(text) for text in overrides] + list(values.items())
        for key, value in changes:
            assign(table, key, value)
        changed = {key for key, _ in changes}
        if "arch" in changed and "name" not in changed:
            table["name"] = f"{table['arch']}.{table['name'].partition('.')[2]}"
        return cls(**table)

    def to_toml(self) -> str:
        """Write the recipe with every value, also those that were left to their default."""
        return tomli_w.dumps(self.model_dump(mode="json"))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the recipe as a TOML file, whole or not at all.

        Args:
            path: The file.

        Returns:
            The path.

        Raises:
            InputError: The place cannot be written, or is full.
        """
        return write_text(path, self.to_toml())

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Name the keys that make a training by this recipe another one than by ``other``.

        Args:
            other: A recipe as plain values, as a card or a checkpoint holds it.

        Returns:
            For example ``["epochs (2, there 200)"]``. How often checkpoints are written, the
            name and the notes make no difference.
        """
        mine = _flat(self.model_dump(mode="json"))
        # A key that is younger than the other recipe had the default's effect there.
        theirs = {**_flat(_defaults()), **_flat(other)}
        for key in ("name", "checkpoint_epochs", "notes"):
            mine.pop(key, None)
            theirs.pop(key, None)
        return differences(mine, theirs)


def list_recipes(pattern: str = "*") -> list[str]:
    """List the recipes that come with the package.

    Args:
        pattern: A shell-style pattern that the whole name must match.

    Returns:
        The names, sorted.

    Example:
        >>> training.list_recipes("*.digits")
        ['resnet20.digits']
    """
    return fnmatch.filter(sorted(path.stem for path in FOLDER.glob("*.toml")), pattern)


def _find(recipe: str | os.PathLike[str]) -> Path:
    """Find the file of a recipe: one of ours by its name, or any by its path."""
    if isinstance(recipe, str) and recipe in list_recipes():
        return FOLDER / f"{recipe}.toml"
    if not isinstance(recipe, str | os.PathLike):
        raise InputError(
            "recipe: accepted are a name from training.list_recipes, the path of a TOML file and a "
            f"training.Recipe; received {recipe!r}"
        )
    path = Path(recipe)
    if is_file(path):
        return path
    if path.suffix == ".toml" or len(path.parts) > 1:
        raise InputError(f"there is no recipe file {path}")
    raise InputError(
        f"unknown recipe {str(recipe)!r}; {nearest(str(recipe), list_recipes())} "
        "Or pass the path of a TOML file"
    )


def _read(path: Path) -> dict[str, Any]:
    """Read a TOML file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _defaults() -> dict[str, Any]:
    """Return the default of every key that has one, as plain values."""
    required = {"name": "resnet20.none", "arch": "resnet20", "dataset": "none", "epochs": 1}
    least = Recipe(**required).model_dump(mode="json")
    return {key: value for key, value in least.items() if key not in required}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Make one level of nested tables, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
