"""``zoo study``, with a study that takes a moment."""

import json

import pytest

from training.studies import recipe as recipes
from zoo.cli import run


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """The recipe of mechanics, of which the default form is the fast one."""
    text = (recipes.FOLDER / "mechanics.toml").read_text()
    head, fast = text.split("[fast]\n")
    top = head.replace("seeds = [0, 1, 2, 3, 4]\n", "").replace("steps = 88\n", "")
    rest = fast.split("[fast.grid]\n")
    top = rest[0].strip() + "\n" + top
    top = top.replace("momenta = [0.9, 0.97, 0.99]", "momenta = [0.9]")
    top = top.replace("statistics_images = 1024", "statistics_images = 128")
    path = tmp_path / "quick.toml"
    path.write_text(top)
    monkeypatch.chdir(tmp_path)
    return path


@pytest.mark.slow
def test_a_study_tells_its_verdicts_and_leaves_its_files(quick, tmp_path, capsys):
    assert run(["study", str(quick), "--out", "out", "--json"]) == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    (study,) = document["studies"]
    assert study["study"] == "mechanics"
    assert {claim["verdict"] for claim in study["claims"]} == {"undecided"}  # one seed
    assert "mechanics training.momentum0.9.seed0" in told.err
    assert (tmp_path / "out" / "results.html").is_file()
    # Once more: nothing is left to do, and the answer is the same.
    assert run(["study", str(quick), "--out", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == document


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["study", "learning-rat"], ["learning_rate"]),
        (["study", "nothing.toml"], ["nothing.toml"]),
    ],
)
def test_a_study_that_there_is_not(capsys, argv, words):
    assert run(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words)
