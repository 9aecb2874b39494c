"""A training keeps what is in its folder and no run's."""

import pytest

import training
from zoo import InputError

from .finished import FINISHED, files


@pytest.mark.parametrize(
    "name", ["model.keras", "history.csv", "recipe.toml", "curves.png", "curves.html"]
)
def test_files_that_are_no_runs_are_kept_unless_asked(recipe, tmp_path, silent, name):
    (tmp_path / name).write_text("somebody's own")
    with pytest.raises(InputError, match=f"holds {name} and no run; pass --overwrite"):
        training.train(recipe, out=tmp_path, progress=silent)
    assert files(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "somebody's own"
    training.train(recipe, out=tmp_path, epochs=1, overwrite=True, progress=silent)
    assert files(tmp_path) == FINISHED


def test_logs_that_are_no_runs_are_kept_unless_asked(recipe, tmp_path, silent):
    log = tmp_path / "tensorboard" / "events.out.tfevents.1.mine"
    log.parent.mkdir()
    log.write_text("somebody's own")
    with pytest.raises(InputError, match="holds logs in tensorboard and no run; pass --overwrite"):
        training.train(recipe, out=tmp_path, progress=silent)
    assert log.read_text() == "somebody's own"
    training.train(recipe, out=tmp_path, epochs=1, overwrite=True, progress=silent)
    assert not log.exists()


@pytest.mark.parametrize("options", [{}, {"overwrite": True}])
def test_the_recipe_that_is_read_is_never_replaced(recipe, tmp_path, silent, options):
    path = recipe.save(tmp_path / "recipe.toml")
    before = path.read_text()
    with pytest.raises(InputError, match=r"recipe\.toml is the recipe that is read"):
        training.train(path, out=tmp_path, progress=silent, **options)
    assert path.read_text() == before
    assert files(tmp_path) == ["recipe.toml"]
