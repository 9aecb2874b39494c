"""What a model is, as one page that a person reads: its facts, its blocks, its graph."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from export import graph_reading
from export.fold_report import MOST_CALLS
from export.graph_picture import picture
from export.report import render
from zoo.files import write_text

if TYPE_CHECKING:
    from zoo.showing import Shown

TEMPLATE = "model.html.j2"


def write_model_page(shown: "Shown", path: str | os.PathLike[str]) -> Path:
    """Write a page on a model that asks for nothing from anywhere else.

    Args:
        shown: What `zoo.showing.describe` found.
        path: The file.

    Returns:
        The path.

    Raises:
        InputError: The place cannot be written.

    Example:
        >>> write_model_page(zoo.showing.describe("resnet20"), "resnet20.html")
    """
    graph = graph_reading.read(shown.model)
    page = render(
        TEMPLATE,
        name=str(shown.facts["name"]),
        known=shown.facts,
        lines=shown.lines(every=False),
        picture=picture(graph, {}) if len(graph.calls) <= MOST_CALLS else None,
    )
    return write_text(path, page)
