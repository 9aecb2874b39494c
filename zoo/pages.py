"""Pages of HTML that ask for nothing from anywhere else: what all of ours are made with."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

TEMPLATES = Path(__file__).parent / "templates"


def render(folder: Path, template: str, **values: Any) -> str:
    """Fill in one of our pages.

    Args:
        folder: Where the page's templates lie; those that all pages share are found too.
        template: The page's file name.
        **values: What the templates ask for, also those that it imports.

    Returns:
        The page. Words from outside are escaped.
    """
    import jinja2

    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(
        number=number, percent=percent, size=size, breakable=_breakable, title=_title
    )
    pages.globals.update(values)
    return pages.get_template(template).render()


def number(value: Any) -> str:
    """Write a measured value or a limit in a few digits."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{value:,}"
    if not isinstance(value, float):  # numpy's float64 is one too
        return str(value)
    magnitude = abs(value)
    if 1e4 <= magnitude < 1e9:
        return f"{value:,.0f}"
    return f"{value:.1e}" if value and not 1e-3 <= magnitude < 1e4 else f"{value:.4g}"


def percent(fraction: float) -> str:
    """Write a fraction as a percentage."""
    return f"{100 * fraction:.2f} %"


def size(count: int) -> str:
    """Write a number of bytes."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def png(pixels: np.ndarray, *, longest: int = 0) -> str:
    """Write an image as a PNG in a data URI.

    Args:
        pixels: uint8, (height, width, channels); 1 or 3 channels.
        longest: To how many pixels the longer side is reduced where it is longer; 0 for never.

    Returns:
        What an ``img`` element takes as its ``src``.
    """
    import PIL.Image

    picture = PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if longest:
        picture.thumbnail((longest, longest))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _breakable(name: str) -> Any:
    """Let a browser break a long name after each underscore and slash."""
    import markupsafe

    parts = str(markupsafe.escape(name)).replace("_", "_<wbr>").replace("/", "/<wbr>")
    return markupsafe.Markup(parts)


def _title(text: str) -> str:
    """Turn a name from the code into words."""
    return text.replace("_", " ")
