"""Line charts as numbers: where points, ticks and labels are put."""

import pytest

from zoo.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart, powers


def test_equal_factors_are_equally_far_apart():
    drawn = chart(
        "Loss", {"a": [(1, 1e-3), (4, 1e-1), (16, 10)]}, x_label="n", log_x=True, log_y=True
    )
    (first, second, third) = ((x, y) for x, y, _ in drawn.lines[0].points)
    # Positions are rounded to a tenth of a pixel.
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.11)
    assert second[1] - first[1] == pytest.approx(third[1] - second[1], abs=0.11)
    assert (first[0], third[0]) == (LEFT, WIDTH - RIGHT)
    assert [tick.label for tick in drawn.x_ticks] == ["1", "4", "16"]
    assert drawn.y_ticks[0].label == "1e-03"
    assert all(TOP <= y <= HEIGHT - BOTTOM for _, y in (first, second, third))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.02, 3, [0.01, 0.1, 1, 10]),
        (1, 1, [1, 10]),
        (1, 1e12, [1, 100, 1e4, 1e6, 1e8, 1e10, 1e12]),
    ],
)
def test_powers_span_a_range(low, high, expected):
    found = powers(low, high)
    assert found[: len(expected)] == pytest.approx(expected)
    assert found[0] <= low and found[-1] >= high


def test_fractions_on_the_horizontal_axis_get_ticks_between_whole_numbers():
    drawn = chart("Gap", {"a": [(0, 1.0), (0.5, 2.0)]}, x_label="rate")
    assert [tick.label for tick in drawn.x_ticks] == ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]
    whole = chart("Loss", {"a": [(1, 1.0), (2, 2.0)]}, x_label="epoch")
    assert [tick.label for tick in whole.x_ticks] == ["1", "2"]
