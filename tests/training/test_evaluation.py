import json

import numpy as np
import pytest
from sklearn import metrics as reference

import training
from training.evaluation import wilson
from zoo import InputError


@pytest.fixture
def lookup(digits):
    """A function that gives each image of a split logits of its own, and what they are."""
    logits = np.random.default_rng(0).normal(0, 2, (len(digits.test), 10))
    table = {
        image.tobytes(): row
        for image, row in zip(digits.preprocessing(digits.test.images), logits, strict=True)
    }
    images = digits.preprocessing(digits.test.images)
    # Two images of the split may be the same; each gets the logits of the last one.
    return lambda batch: np.stack([table[image.tobytes()] for image in batch]), np.stack(
        [table[image.tobytes()] for image in images]
    )


@pytest.mark.parametrize("batch_size", [1, 100, 359, 1000])
def test_it_measures_what_scikit_learn_measures(digits, lookup, batch_size):
    model, logits = lookup
    measured = training.evaluate(model, digits, batch_size=batch_size)
    labels, predicted = digits.test.labels, logits.argmax(-1)
    odds = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert measured.count == 359
    assert measured.accuracy == reference.accuracy_score(labels, predicted)
    assert measured.correct == (labels == predicted).sum()
    assert (measured.confusion == reference.confusion_matrix(labels, predicted)).all()
    # Both are float64; only the order of the additions differs.
    assert measured.loss == pytest.approx(reference.log_loss(labels, odds), rel=1e-12)
    recall = reference.recall_score(labels, predicted, average=None)
    assert list(measured.per_class.values()) == pytest.approx(list(recall), rel=1e-12)
    assert json.loads(json.dumps(measured.to_dict()))["accuracy"] == measured.accuracy


@pytest.mark.parametrize(
    ("correct", "count", "expected"),
    # R's prop.test(x, n, correct=FALSE) gives these.
    [(5, 10, (0.2365931, 0.7634069)), (10, 10, (0.7224672, 1.0)), (0, 10, (0.0, 0.2775328))],
)
def test_the_interval_is_wilsons(correct, count, expected):
    assert wilson(correct, count) == pytest.approx(expected, abs=5e-8)


def ten_logits(batch):
    return np.zeros((len(batch), 10))


def test_what_cannot_be_measured_is_told(digits):
    split = digits.test.take(np.arange(3))
    with pytest.raises(InputError, match="no preprocessing"):
        training.evaluate(ten_logits, split)
    with pytest.raises(InputError, match="at least one image"):
        training.evaluate(ten_logits, split.take([]), preprocessing=digits.preprocessing)
    negative = training.Split(split.images, np.asarray([0, -1, 1]))
    with pytest.raises(InputError, match=r"labels of 0 or more; received -1"):
        training.evaluate(ten_logits, negative, preprocessing=digits.preprocessing)
    with pytest.raises(InputError, match=r"7 logits and the data 10 classes"):
        training.evaluate(lambda batch: np.zeros((len(batch), 7)), digits)
    with pytest.raises(InputError, match=r"image 0 are not finite"):
        training.evaluate(lambda batch: np.full((len(batch), 10), np.nan), digits)


def test_data_whose_classes_have_other_names_is_refused(digits):
    clothes = [f"coat {number}" for number in range(10)]
    with pytest.raises(InputError, match=r"digits has the classes 0, 1, 2, 3, \.\.\. \(10\) and "):
        training.evaluate(ten_logits, digits, labels=clothes)
    with pytest.raises(InputError, match="accepted is data with the model's own classes"):
        training.evaluate(ten_logits, digits, labels=digits.labels[::-1])
    for names in (None, (), list(digits.labels)):
        assert training.evaluate(ten_logits, digits, labels=names).count == 359
    nameless = digits.test  # a split has no names: the model's are told
    measured = training.evaluate(
        ten_logits, nameless, preprocessing=digits.preprocessing, labels=clothes
    )
    assert list(measured.per_class) == clothes
