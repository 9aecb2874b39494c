"""Which points of a picture of accuracy against latency are named."""

from . import scatter


def test_the_frontier_is_what_nothing_is_better_than():
    points = {"slow": (9.0, 70.0), "best": (8.0, 80.0), "fast": (1.0, 60.0), "same": (1.0, 50.0)}
    assert scatter.frontier(points) == ["fast", "best"]
    assert scatter.frontier({}) == []


def test_a_picture_takes_more_groups_than_there_are_colours(tmp_path):
    groups = {f"group{number}": {f"a{number}.x": (1.0 + number, 50.0)} for number in range(14)}
    path = tmp_path / "points.png"
    scatter.draw(groups, path, title="group", y_label="accuracy, %", named={"a3.x": "third"})
    assert path.read_bytes().startswith(b"\x89PNG")
