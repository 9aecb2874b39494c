"""Recipes of studies: experiment, grid and the rules of the verdicts, in one validated file."""

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import pydantic

from training.recipe import Recipe
from training.studies.study import Study, find
from training.studies.verdicts import Claim
from zoo.errors import InputError, nearest
from zoo.settings import Settings, Whole

FOLDER = Path(__file__).parent / "recipes"
Form = Literal["default", "full", "fast"]
FORMS: tuple[str, ...] = get_args(Form)
_WORDS = {"title", "experiment", "text", "source", "notes"}
# The keys of a training that no run of a study follows.
_UNUSED = (
    "weights",
    "freeze",
    "freeze_norm",
    "zero_last_gamma",
    "whiten",
    "identity",
    "average",
    "statistics_images",
    "holdout",
    "views",
    "checkpoint_epochs",
)


class StudyRecipe(Settings):
    """Everything that a study's result depends on, but for where its data lies.

    Args:
        name: The study's name; its code is the module of that name in `training.studies`.
        title: A few words.
        experiment: What is done, in three lines.
        claims: What is put to the test, each with the rules of its verdict.
        form: ``default`` for minutes on two cores, ``full`` for a GPU, ``fast`` for seconds.
        seeds: The seeds of each setting; at least five for a verdict.
        steps: The number of training steps of a run.
        train_images: How many training images are learned from, the first ones; 0 for all.
        held_out_images: How many training images choices are made by, the last ones: no run learns
            from them, and no result is measured on them. 0 for a study that chooses nothing.
        test_images: How many test images are measured on, the first ones; 0 for all.
        training: What is common to all runs; see `training.Recipe`. Every run begins with random
            weights, trains all of them, and is measured by those of its last step: the keys that
            ask for something else are refused.
        grid: What they differ in; each study has keys of its own.

    Raises:
        InputError: A key is unknown, or a value is out of its range.

    Example:
        >>> recipe = training.StudyRecipe.load("learning_rate")
        >>> recipe.claims[0].rules[0].holds_at
    """

    name: Annotated[str, pydantic.Field(pattern=r"^[a-z_]+$")]
    title: str
    experiment: Annotated[tuple[str, ...], pydantic.Field(min_length=3, max_length=3)]
    claims: Annotated[tuple[Claim, ...], pydantic.Field(min_length=1)]
    form: Form = "default"
    seeds: Annotated[
        tuple[Annotated[Whole, pydantic.Field(ge=0, lt=2**32)], ...],
        pydantic.Field(min_length=1),
    ]
    steps: Annotated[Whole, pydantic.Field(ge=1)]
    train_images: Annotated[Whole, pydantic.Field(ge=0)] = 0
    held_out_images: Annotated[Whole, pydantic.Field(ge=0)] = 0
    test_images: Annotated[Whole, pydantic.Field(ge=0)] = 0
    training: Recipe
    grid: Any

    @pydantic.field_validator("training", mode="before")
    @classmethod
    def _training(cls, value: Any) -> Any:
        if isinstance(value, Recipe):
            return value
        # The length of a study's runs is counted in steps.
        return Recipe(**{"epochs": 1, **_table("training", value)})

    def replace(self, **changes: Any) -> Self:
        """Make a copy with some values changed; see `zoo.settings.Settings`."""
        # The grid's class is the study's own, which pydantic does not know.
        kept = {"training": self.training, "grid": self.grid, "claims": self.claims}
        return type(self)(**{**self.model_dump(exclude=set(kept)), **kept, **changes})

    @pydantic.model_validator(mode="after")
    def _own_grid(self) -> "StudyRecipe":
        if self.name not in list_studies():
            raise ValueError(
                f"name: unknown study {self.name!r}; {nearest(self.name, list_studies())}"
            )
        if self.training.epochs != 1:
            raise ValueError(
                "training.epochs: accepted is 1, since steps says how long a run is; "
                f"received {self.training.epochs}"
            )
        for key in _UNUSED:
            value, default = getattr(self.training, key), Recipe.model_fields[key].default
            if value != default:
                raise ValueError(
                    f"training.{key}: accepted is {default!r}, since no run of a study follows it; "
                    f"received {value!r}"
                )
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: accepted are different ones; received {list(self.seeds)}")
        study = find(self.name)
        if study.chooses and not self.held_out_images:
            raise ValueError(
                "held_out_images: accepted is 1 or more, since this study chooses by them; "
                "received 0"
            )
        if not isinstance(self.grid, study.grid):
            object.__setattr__(self, "grid", study.grid(**_table("grid", self.grid)))
        self._check_measures(study)
        return self

    def _check_measures(self, study: Study) -> None:
        """Refuse, before the first run, what would be missed after the last one."""
        missing = [variant for variant in study.needs if variant not in self.grid.variants]
        if missing:
            raise ValueError(
                f"grid.variants: accepted are some with {' and '.join(study.needs)}, which the "
                f"measures need; received {list(self.grid.variants)}"
            )
        measures = study.measures(self.grid)
        for rule in (rule for claim in self.claims for rule in claim.rules):
            if rule.measure not in measures:
                raise ValueError(
                    f"claims.rules.measure: this grid gives no measure {rule.measure!r}; "
                    f"{nearest(rule.measure, measures)}"
                )

    @classmethod
    def load(
        cls, recipe: "str | os.PathLike[str] | StudyRecipe", form: str = "default"
    ) -> "StudyRecipe":
        """Read the recipe of a study in one of its forms.

        Args:
            recipe: A name from `list_studies` (a hyphen is as good as an underscore), the path of
                a TOML file, or a StudyRecipe, which is returned as it is.
            form: ``default``, ``full`` or ``fast``. The file's table of that name changes values.

        Returns:
            The recipe.

        Raises:
            InputError: The study is unknown, or a key or value is not accepted.

        Example:
            >>> training.StudyRecipe.load("batch-size", "full").training.arch
            'resnet20'
        """
        if isinstance(recipe, StudyRecipe):
            return recipe
        if form not in FORMS:
            raise InputError(f"unknown form {form!r}; {nearest(form, FORMS)}")
        path = _path(recipe)
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not a TOML file that can be read: {error}") from error
        forms = {known: table.pop(known, {}) for known in FORMS if known != "default"}
        for known, changes in forms.items():
            if not isinstance(changes, Mapping):
                raise InputError(f"{path}: {known}: accepted is a table; received {changes!r}")
        if "form" in table:
            raise InputError(
                f"{path}: form: accepted is {form!r} as it is asked for, and no key of the file; "
                f"received {table['form']!r}"
            )
        try:
            return cls(form=form, **_changed(table, forms.get(form, {})))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def digest(self) -> str:
        """Hash all that decides results and verdicts; texts for readers make no difference.

        Of the training only what is not the default counts: a key that recipes get later had the
        default's effect before.
        """
        training = self.training.model_dump(mode="json", exclude_defaults=True)
        content = _without_words({**self.to_dict(), "training": training})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return every value as JSON can hold it."""
        return {
            **self.model_dump(mode="json", exclude={"grid"}),
            "grid": self.grid.model_dump(mode="json"),
        }


def list_studies() -> list[str]:
    """List the studies that come with the package.

    Returns:
        Their names, sorted.
    """
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def _path(recipe: str | os.PathLike[str]) -> Path:
    """Find the file of a recipe."""
    name = str(recipe).replace("-", "_")
    if name in list_studies():
        return FOLDER / f"{name}.toml"
    path = Path(recipe)
    if path.suffix == ".toml":
        return path
    raise InputError(
        f"unknown study {str(recipe)!r}; {nearest(name, list_studies())} "
        "Or pass the path of a TOML file"
    )


def _table(key: str, value: Any) -> dict[str, Any]:
    """Make sure that a value is a table."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{key}: accepted is a table; received {value!r}")
    return dict(value)


def _changed(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Put the values of one nested table over those of another."""
    changed = dict(table)
    for key, value in changes.items():
        inner = changed.get(key)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            changed[key] = _changed(inner, value)
        else:
            changed[key] = value
    return changed


def _without_words(value: Any) -> Any:
    """Leave out what is only for readers."""
    if isinstance(value, Mapping):
        return {key: _without_words(item) for key, item in value.items() if key not in _WORDS}
    return [_without_words(item) for item in value] if isinstance(value, list) else value
