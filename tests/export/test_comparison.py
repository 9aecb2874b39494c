"""How two classifiers are compared, and of which settings a file of fewer bits is made."""

import numpy as np
import pytest

import zoo
from export import calibration, comparison, quantization
from export.trials import Settings
from zoo.hardware import cpu_kind


def test_few_images_of_many_classes_show_enough_of_them():
    calibration.check_balance(np.arange(100), 1000)
    with pytest.raises(zoo.InputError, match=r"100 images show 40 of 1000 classes; .* at least 50"):
        calibration.check_balance(np.arange(100) % 40, 1000)


@pytest.mark.parametrize(
    ("lost", "won", "count"),
    [(0.03, 0.01, 100), (0.1, 0.1, 50), (0.005, 0.0, 1000), (0.3, 0.1, 40)],
)
def test_the_paired_interval_covers_as_often_as_it_says(lost, won, count):
    """Of many sets of images from one source, 95 in 100 have the true difference inside.

    Counts are whole, so that the share is not exactly 0.95: Agresti and Min find 0.93 and more.
    """
    drawn = np.random.default_rng(0).multinomial(count, [lost, won, 1 - lost - won], 4000)
    inside = 0
    for first, second, _ in drawn:
        low, high = comparison.paired_interval(int(first), int(second), count)
        assert low <= (first - second) / count <= high
        inside += low <= lost - won <= high
    assert 0.93 <= inside / len(drawn) <= 0.998


def test_a_flip_is_judged_by_its_margin():
    random = np.random.default_rng(0)
    exact = random.normal(size=(200, 5))
    other = exact + 0.01 * random.normal(size=exact.shape)
    assert comparison.compare(exact, other, None).flips_beyond == 0
    other[0] = -100 * exact[0]
    found = comparison.compare(exact, other, None)
    assert found.flips_beyond == 1
    assert found.agreement < 1
    # What is added to all logits of an image changes nothing.
    assert comparison.compare(exact, exact + 5, None).logit_error == pytest.approx(0, abs=1e-12)


def test_logits_that_are_not_finite_fail():
    exact = np.eye(3)
    found = comparison.compare(exact, np.full((3, 3), np.nan), np.arange(3))
    assert found.logit_error == float("inf")
    assert found.loss > 50


def test_settings_are_told_in_words():
    assert str(Settings()) == "plain"
    words = "minmax, per channel, 2 layers in float32"
    assert str(Settings("minmax", True, ("a", "b"))) == words


def test_this_processor_is_of_a_known_kind():
    assert cpu_kind() in quantization.CPUS
