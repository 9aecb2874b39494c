"""Every model of the zoo goes the whole way; each night all of them, small ones with all tests."""

import keras
import pytest

from zoo.norm import KINDS

from . import variants
from .records import alone

# The BatchNorms that are kept, with the codes of the reasons. Those of fastnet stand between a max
# pooling and a GELU, and the gammas are of both signs here; as it is trained it has none.
BETWEEN = ["negative_scale", "unsupported_layer"]
KEPT = {"fastnet": {f"stage{stage}_1_norm": BETWEEN for stage in (1, 2, 3)}}


@pytest.mark.nightly
@pytest.mark.parametrize("name", variants.MODELS)
def test_each_model_goes_the_whole_way(name):
    row = alone(variants.measure, name)  # the largest take 10 GB
    assert variants.wrong(row) == []
    assert row["batchnorms"] >= len(row["kept"])
    assert row["kept"] == KEPT.get(name, {})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet5", "resnet8"])
def test_a_model_goes_the_whole_way(name):
    row = variants.measure(name)
    assert set(row["steps"]) == set(KINDS)
    assert variants.wrong(row) == []
    assert row["kept"] == {}


def test_a_step_that_goes_wrong_is_told(monkeypatch):
    monkeypatch.setattr(keras.Model, "train_on_batch", lambda *arguments: float("nan"))
    assert variants.trained("lenet5", (32, 32, 1), "batch") == "the loss is nan"
    monkeypatch.setattr(keras.Model, "train_on_batch", lambda *arguments: 1.0)
    assert variants.trained("lenet5", (32, 32, 1), "batch") == "no weight moved"


def test_everything_that_went_wrong_is_listed():
    row = {"steps": {"batch": "", "group": "no weight moved"}, "certificate": "", "verdict": "bad"}
    assert variants.wrong(row) == ["group: no weight moved", "verdict: bad"]
