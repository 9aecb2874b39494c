"""Study recipes: what they may say, and what is told before the first run."""

import re

import pytest

import training
from training.studies.common import variant_norm
from training.studies.recipe import FOLDER
from training.studies.study import Run
from zoo.errors import InputError
from zoo.norm import Norm


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("none", ("none", "before_activation")),
        ("batch", ("batch", "before_activation")),
        ("batch-after", ("batch", "after_activation")),
        ("batch-pre", ("batch", "pre_activation")),
        ("group", ("group", "before_activation")),
    ],
)
def test_variants(variant, expected):
    norm = variant_norm(variant, Norm(groups=4))
    assert (norm.kind, norm.placement) == expected
    assert norm.groups == 4


@pytest.mark.parametrize("variant", ["batchnorm", "batch-behind", ""])
def test_unknown_variants(variant):
    with pytest.raises(InputError, match="variant"):
        variant_norm(variant, Norm())


def test_runs_of_different_numbers_have_different_names():
    """By six digits 0.9999999 is 1: the runs of two momenta were taken for one."""
    momenta = (0.9, 0.9999999, 0.99999999, 1e-05)
    ids = [Run.of(momentum=momentum, seed=0).id for momentum in momenta]
    assert ids[0] == "momentum0.9.seed0" and ids[-1] == "momentum1e-05.seed0"
    assert len(set(ids)) == len(momenta)


def test_bad_recipes(tmp_path):
    with pytest.raises(InputError, match="learning_rate"):
        training.StudyRecipe.load("learning-rat")
    with pytest.raises(InputError, match="form"):
        training.StudyRecipe.load("mechanics", "quick")
    text = (FOLDER / "batch_size.toml").read_text()
    for old, new, word in (
        ("reference = 32", "reference = 33", "reference"),
        ('"group", "layer"', '"group", "layers"', "layers"),
        ("seeds = [0, 1, 2, 3, 4]", "seeds = [0, 0]", "seeds"),
        ("learning_rate = 0.1", "epochs = 2", "epochs"),
        ("learning_rate = 0.1", "average = 0.9", r"training\.average: accepted is 0\.0, since no"),
        ("learning_rate = 0.1", 'freeze = ["stem_*"]', r"training\.freeze: accepted is \(\)"),
        ("learning_rate = 0.1", "whiten = 64", r"training\.whiten: accepted is 0"),
        ('title = "Batch size"', 'titel = "Batch size"', "titel"),
    ):
        path = tmp_path / "bad.toml"
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=word):
            training.StudyRecipe.load(path)


GRID = '[grid]\nvariants = ["none", '


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("learning_rate", GRID, GRID.replace('"none", ', ""), "some with none, which the measures"),
        ("convergence", GRID, GRID.replace('"none", ', ""), "some with none, which the measures"),
        ("covariate_shift", GRID, GRID.replace('"none", ', ""), "with none, which the measures"),
        ("initialisation", GRID, GRID.replace('"none", ', ""), "some with none, which the"),
        ("regularisation", '"none", "batch"', '"none"', "some with none and batch, which the"),
        ("placement", '"batch", "batch-after"', '"batch-after"', "some with batch, which"),
        ("batch_size", '"batch", "batch_renorm"', '"batch_renorm"', "some with batch, which"),
        ("batch_size", "batch_loss_when_small", "batch_loss_when_smal", "did you mean batch_loss"),
        ("mechanics", '"lag_error"', '"lag"', "no measure 'lag'; did you mean lag_steps"),
        ("mechanics", "[grid]\n", "[another]\n", "StudyRecipe has no key 'another'"),
        ("mechanics", "title =", "grid = 5\ntitle =", "grid: accepted is a table; received 5"),
        ("mechanics", "title =", 'training = "x"\ntitle =', "training: accepted is a table; rec"),
        ("mechanics", "title =", 'form = "full"\ntitle =', "no key of the file; received 'full'"),
    ],
)
def test_what_would_be_missed_after_the_last_run_is_told_before_the_first(
    tmp_path, name, old, new, words
):
    text = (FOLDER / f"{name}.toml").read_text()
    assert old in text
    if new.startswith(("grid", "training")):  # in the place of the table of that name
        table = new.partition(" ")[0]
        text = re.sub(rf"(?ms)^\[(\w+\.)?{table}\].*?(?=^\[|\Z)", "", text)
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=words) as caught:
        training.StudyRecipe.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ("grid = [1, 2]", r"grid: accepted is a table; received \[1, 2\]"),
        ("training = 5", "training: accepted is a table; received 5"),
    ],
)
def test_a_form_changes_tables_by_tables(tmp_path, changes, words):
    text = (FOLDER / "mechanics.toml").read_text().partition("[fast]")[0]
    path = tmp_path / "mine.toml"
    path.write_text(f"{text}\n[fast]\n{changes}\n")
    with pytest.raises(InputError, match=words):
        training.StudyRecipe.load(path, "fast")
