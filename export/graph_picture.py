"""A model's graph as boxes and lines that a template draws, from its inputs down to its outputs.

A layered layout in the manner of Sugiyama, Tagawa and Toda 1981, kept small: a call's row is its
longest path from an input; a line that passes rows has a lane in each of them; a few sweeps order
each row and place it below, or above, what it is joined to.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from export.graph import Call, Graph, Tensor

BOX_WIDTH, BOX_HEIGHT = 172, 32
GAP, ROW = 10, 50  # between neighbours in a row; from one row to the next
MOST_LETTERS = 26  # of a name in a box, in a font of fixed width
SWEEPS = 7  # down, up, ..., down
# The lane of a shortcut gives way to what it passes; that of a branch is as straight as its boxes.
SHORTCUT_WEIGHT = 0.001


@dataclass(frozen=True)
class Box:
    """One call of a layer: its middle and upper edge, and what is written in it.

    Args:
        x: In pixels.
        y: Likewise.
        name: The layer's name, shortened to what fits.
        kind: What is written below the name.
        mark: A word for the box's colour; empty for an ordinary one.
        title: The whole name, the class and the shape of what it makes.
    """

    x: int
    y: int
    name: str
    kind: str
    mark: str
    title: str


@dataclass(frozen=True)
class Picture:
    """A graph, laid out.

    Args:
        width: In pixels.
        height: Likewise.
        boxes: The calls.
        lines: An SVG path for each tensor, to all calls that take it.
        rows: Each call's row, by its layer's name and its number among that layer's calls.
    """

    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[str, ...]
    rows: Mapping[tuple[str, int], int]
    box_width: int = BOX_WIDTH
    box_height: int = BOX_HEIGHT


@dataclass(eq=False)
class _Place:
    """A box; or, without a call, a line's lane beside the boxes of one row."""

    row: int
    call: Call | None = None
    weight: float = 1.0
    x: float = 0.0
    above: list["_Place"] = field(default_factory=list)
    below: list["_Place"] = field(default_factory=list)

    @property
    def width(self) -> int:
        return 0 if self.call is None else BOX_WIDTH

    @property
    def top(self) -> int:
        return self.row * ROW + GAP

    @property
    def bottom(self) -> int:
        return self.top + BOX_HEIGHT


def picture(
    graph: Graph, marks: Mapping[Call, tuple[str, str]], *, beside: Picture | None = None
) -> Picture:
    """Lay out a graph.

    Args:
        graph: The graph.
        marks: Of some calls: the word for the box's colour, and what to write in it instead of the
            layer's class (empty: the class).
        beside: A picture of another graph: calls of the same name come as far down as there.

    Returns:
        The picture.
    """
    rows = _rows(graph, beside.rows if beside else {})
    boxes = {call: _Place(rows[_key(call)], call) for call in graph.calls}
    lanes = {tensor: _lane(tensor, boxes) for call in graph.calls for tensor in call.outputs}
    places = [*boxes.values(), *(place for lane in lanes.values() for place in lane[1:])]
    _arrange(places)
    left = min((place.x - place.width / 2 for place in places), default=0) - GAP
    for place in places:
        place.x = round(place.x - left)
    return Picture(
        width=int(max((place.x + place.width / 2 for place in places), default=0)) + GAP,
        height=max((place.bottom for place in places), default=0) + GAP,
        boxes=tuple(_box(call, place, marks.get(call, ("", ""))) for call, place in boxes.items()),
        lines=tuple(_path(lane, _users(tensor, boxes)) for tensor, lane in lanes.items()),
        rows=rows,
    )


def _key(call: Call) -> tuple[str, int]:
    return call.layer.name, call.layer.calls.index(call)


def _rows(graph: Graph, wanted: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
    """Put each call below all that it takes, and no higher than it is wanted."""
    rows: dict[tuple[str, int], int] = {}
    for call in graph.calls:
        above = max((rows[_key(tensor.call)] for tensor in call.inputs), default=-1)
        rows[_key(call)] = max(above + 1, wanted.get(_key(call), 0))
    return rows


def _users(tensor: Tensor, boxes: Mapping[Call, _Place]) -> list[_Place]:
    return [boxes[user] for user in dict.fromkeys(tensor.users)]


def _lane(tensor: Tensor, boxes: Mapping[Call, _Place]) -> list[_Place]:
    """Join a tensor's box to those that take it; return it and its lane, down to the last one."""
    lane, users = [boxes[tensor.call]], _users(tensor, boxes)
    weight = 1.0 if len(users) == 1 else SHORTCUT_WEIGHT
    for row in range(lane[0].row + 1, max((user.row for user in users), default=0)):
        lane.append(_Place(row, weight=weight))
        _join(lane[-2], lane[-1])
    for user in users:
        _join(lane[user.row - lane[0].row - 1], user)
    return lane


def _join(upper: _Place, lower: _Place) -> None:
    upper.below.append(lower)
    lower.above.append(upper)


def _arrange(places: Sequence[_Place]) -> None:
    """Choose every place's x."""
    rows: list[list[_Place]] = [[] for _ in range(max((p.row for p in places), default=0) + 1)]
    for place in places:
        rows[place.row].append(place)
    for sweep in range(SWEEPS):
        for row in reversed(rows) if sweep % 2 else rows:
            _settle(row, [place.below if sweep % 2 else place.above for place in row])


def _settle(row: list[_Place], joined: Sequence[Sequence[_Place]]) -> None:
    """Order a row by where each place is drawn to, and move them apart as little as it takes."""
    drawn = {
        place: sum(o.x * o.weight for o in others) / sum(o.weight for o in others)
        if others
        else place.x
        for place, others in zip(row, joined, strict=True)
    }
    row.sort(key=drawn.__getitem__)
    # Least squares with neighbours at least so far apart: pool those that would overlap.
    offset, last = 0.0, None
    pools: list[tuple[float, float, list[tuple[_Place, float]]]] = []
    for place in row:
        offset += 0 if last is None else (last.width + place.width) / 2 + GAP
        pull, weight, members = (
            (drawn[place] - offset) * place.weight,
            place.weight,
            [(place, offset)],
        )
        while pools and pools[-1][0] / pools[-1][1] > pull / weight:
            before = pools.pop()
            pull, weight, members = before[0] + pull, before[1] + weight, before[2] + members
        pools.append((pull, weight, members))
        last = place
    for pull, weight, members in pools:
        for place, shift in members:
            place.x = pull / weight + shift


def _box(call: Call, place: _Place, mark: tuple[str, str]) -> Box:
    """Write a box."""
    name, kind = call.layer.name, call.layer.label
    shapes = ", ".join("×".join(str(n or "?") for n in out.shape[1:]) for out in call.outputs)
    short = name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
    title = ", ".join(filter(None, (name, kind, shapes, mark[1])))
    return Box(int(place.x), place.top, short, mark[1] or kind, mark[0], title)


def _path(lane: Sequence[_Place], users: Sequence[_Place]) -> str:
    """Draw a tensor's lane, and from it a branch to each call that takes it."""
    drawn = [f"M{lane[0].x:g} {lane[0].bottom}"]
    for upper, lower in itertools.pairwise(lane):
        drawn += [_step(upper, lower), f"V{lower.bottom}"]
    for user in users:
        start = lane[user.row - lane[0].row - 1]
        drawn += [f"M{start.x:g} {start.bottom}", _step(start, user)]
    # Of several steps straight down only the last one is needed, and of moves likewise.
    return "".join(
        a for a, b in itertools.pairwise([*drawn, " "]) if a[0] not in "MV" or a[0] != b[0]
    )


def _step(upper: _Place, lower: _Place) -> str:
    """Draw from below one row to the top of the next one."""
    if upper.x == lower.x:
        return f"V{lower.top}"
    middle = lower.top - (ROW - BOX_HEIGHT) // 2
    return f"C{upper.x:g} {middle} {lower.x:g} {middle} {lower.x:g} {lower.top}"
