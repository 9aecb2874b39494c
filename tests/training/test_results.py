"""Runs side by side: from their cards, whatever else lies in the folders."""

import json
import statistics

import pytest

import training
from training import checkpoint
from training.results import HEADER, read
from zoo.cli import run

from .finished import write_run


@pytest.fixture
def folder(recipe, tmp_path):
    """Three seeds of one recipe, another recipe of the same name, and another data set."""
    runs = tmp_path / "runs"
    for seed, accuracy in ((0, 0.90), (1, 0.92), (2, 0.91)):
        seeded = training.Recipe.load(recipe, seed=seed)
        write_run(runs / "seeds" / f"seed{seed}", seeded, accuracy=accuracy)
    longer = training.Recipe.load(recipe, epochs=20, seed=3)
    write_run(runs / "longer", longer, accuracy=0.95, hardware="")
    other = training.Recipe.load(recipe, name="tiny.clothes", dataset="fashion_mnist")
    write_run(runs / "clothes", other, accuracy=0.80)
    return runs


def test_the_cards_numbers_are_shown(folder):
    found = read([folder])
    assert [run.accuracy for run in found.runs] == [0.80, 0.90, 0.92, 0.91, 0.95]
    first = found.runs[0]
    assert (first.name, first.dataset, first.parameters) == ("tiny.clothes", "fashion_mnist", 4321)
    assert (first.epochs, first.seconds, first.images_per_second) == (2, 61.4, 1234.5)
    assert (first.precision, first.hardware) == ("float32", "a processor, 2 threads")
    assert first.folder == str(folder / "clothes")
    assert found.runs[-1].hardware == ""
    assert found.broken == found.unfinished == ()


def test_seeds_of_one_recipe_are_summed_up(folder):
    (seeds,) = read([folder]).seeds
    assert seeds.seeds == (0, 1, 2)
    assert seeds.mean == pytest.approx(0.91, rel=1e-15)
    # Of a sample: the squares add up to 2e-4, divided by 2. The rest is rounding.
    assert seeds.deviation == pytest.approx(0.01, rel=1e-12)
    assert seeds.folders == tuple(str(folder / "seeds" / f"seed{seed}") for seed in range(3))


def test_the_same_seed_again_is_no_second_one(folder, recipe):
    write_run(folder / "again", training.Recipe.load(recipe, seed=1), accuracy=0.5)
    found = read([folder])
    assert len(found.runs) == 6
    assert found.seeds[0].seeds == (0, 1, 2)


def test_a_card_that_is_older_than_some_keys_is_of_the_same_recipe(folder):
    path = folder / "seeds" / "seed2" / "card.json"
    card = json.loads(path.read_text())
    del card["recipe"]["optimizer"], card["hardware"], card["evaluations"]
    path.write_text(json.dumps(card))
    found = read([folder])
    assert found.seeds[0].seeds == (0, 1, 2)
    assert [run.hardware for run in found.runs if run.seed == 2] == [""]


def test_a_folder_is_read_once(folder):
    assert len(read([folder, folder / "longer", folder]).runs) == 5
    assert len(read([folder / "longer"]).runs) == 1


def test_runs_behind_links_are_found_once(folder, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "longer").symlink_to(folder / "longer")
    (linked / "again").symlink_to(linked)
    (linked / ".hidden").symlink_to(folder / "clothes")
    assert [run.folder for run in read([linked]).runs] == [str(linked / "longer")]


@pytest.fixture
def damaged(folder, recipe):
    """A card that is none, an exchanged model, a model without card, and an unfinished run."""
    (folder / "longer" / "card.json").write_text("{}")
    (folder / "clothes" / "model.keras").write_bytes(b"another")
    (folder / "bare").mkdir()
    (folder / "bare" / "model.keras").write_bytes(b"")
    write_run(folder / "going", recipe)
    (folder / "going" / checkpoint.FILE).write_bytes(b"")
    return folder


def test_what_is_broken_is_told_and_the_rest_is_shown(capsys, damaged):
    nowhere = damaged.parent / "nowhere"
    assert run(["results", str(damaged), str(nowhere)]) == 2
    told = capsys.readouterr()
    assert told.out.count("tiny.digits") == 4  # three seeds and their mean
    assert "91.00 %" in told.out and "± 1.00" in told.out
    lines = told.err.splitlines()
    assert lines[0] == f"{damaged / 'going'}: not finished, 3 of 2 epochs done"
    assert len(lines) == 5
    for line, words in zip(
        lines[1:],
        (
            "there is no card",
            "do not belong together",
            "longer/card.json is not a card",
            f"there is no folder {nowhere}",
        ),
        strict=True,
    ):
        assert line.startswith("error: ") and words in line


def test_the_document_has_everything(capsys, damaged):
    assert run(["results", str(damaged), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert [entry["accuracy"] for entry in told["runs"]] == [0.90, 0.92, 0.91]
    assert told["seeds"][0]["mean"] == statistics.mean([0.90, 0.92, 0.91])
    assert len(told["broken"]) == 3
    assert len(told["unfinished"]) == 1


def test_markdown(capsys, folder):
    assert run(["results", str(folder), "--markdown"]) == 0
    told = capsys.readouterr()
    first, second = told.out.split("\n\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in first.splitlines()]
    assert rows[0] == list(HEADER)
    assert rows[2] == [
        "tiny.clothes",
        "fashion_mnist",
        "4,321",
        "80.00 %",
        "78.00 to 81.00",
        "2",
        "61",
        "1,234",
        "float32",
        "a processor, 2 threads",
    ]
    assert rows[4][0] == "tiny.digits, seed 1"
    assert second.splitlines()[2] == "| tiny.digits | digits | 0, 1, 2 | 91.00 % | 1.00 points |"
    assert told.err == ""
    assert run(["results", str(folder), "--markdown", "--json"]) == 2


def test_a_bar_in_a_name_ends_no_cell(recipe, tmp_path):
    write_run(tmp_path / "run", recipe, hardware="one|two")
    assert "one\\|two |" in read([tmp_path]).to_markdown()


def test_by_default_it_is_the_runs_and_the_pretrained_weights(capsys, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert run(["results", "--json"]) == 0
    names = {entry["name"] for entry in json.loads(capsys.readouterr().out)["runs"]}
    assert names >= {"tiny.digits", "tiny.clothes", "resnet20.digits"}


@pytest.mark.parametrize("width", ["60", "80", "200"])
def test_no_number_is_cut_on_a_narrow_terminal(capsys, folder, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    assert run(["results", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert shown.count("1,234") == 5
    for text in ("80.00 %", "78.00 to 81.00", "91.00 %", "± 1.00"):
        assert text in shown


def test_an_empty_folder_is_told(capsys, tmp_path):
    assert run(["results", str(tmp_path)]) == 2
    assert f"error: {tmp_path}: there is no run in it" in capsys.readouterr().err


def test_a_name_that_is_too_long_is_told():
    assert read(["r" * 300]).broken == (f"there is no folder {'r' * 300}",)


def test_a_card_with_a_recipe_that_is_none_is_broken(folder):
    path = folder / "longer" / "card.json"
    card = json.loads(path.read_text())
    card["recipe"]["epochs"] = "many"
    path.write_text(json.dumps(card))
    found = read([folder])
    assert len(found.runs) == 4
    (line,) = found.broken
    assert "epochs of its recipe: accepted is a whole number; received 'many'" in line
