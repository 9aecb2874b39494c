"""Write into the heads of the recipes what the weights that ship were measured to be.

    python -m tests.bench.recipe_heads

A head ends with a paragraph of its own that begins with "Accuracy"; it is made of the card of the
weights that the recipe trains, in saved_models. What stands before it is a person's.
"""

import re
import textwrap
from pathlib import Path

import zoo
from training.progress import duration
from training.recipe import FOLDER
from zoo import pretrained
from zoo.cards import CARD_FILE, Card
from zoo.files import write_text

_WIDTH = 100
_PARAGRAPH = re.compile(r"^# Accuracy .*\n(?:# .*\n)*", re.MULTILINE)


def paths() -> list[Path]:
    """List the recipes that come with the package."""
    return sorted(FOLDER.glob("*.toml"))


def head(card: Card | None) -> str:
    """Tell accuracy, time and hardware.

    Args:
        card: Of the weights that the recipe trained; None where none ship.

    Returns:
        Lines of comment.
    """
    if card is None:
        return "# Accuracy and time of the whole training are not measured yet.\n"
    found = card.metrics
    low, accuracy, high = (
        f"{100 * found[key]:.2f}"
        for key in ("test_accuracy_low", "test_accuracy", "test_accuracy_high")
    )
    text = (
        f"Accuracy on the {found['test_images']:,.0f} test images after the last epoch: "
        f"{accuracy} % (95 % interval {low} to {high}), {by_views(card)}trained in "
        f"{duration(found['train_seconds'])} on {card.hardware or 'unknown hardware'}, in "
        f"{card.precision}, at {found['images_per_second']:.0f} images/s."
    )
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ") + "\n"


def by_views(card: Card) -> str:
    """Tell the accuracy of several views of each test image, where it was measured.

    Args:
        card: Of the weights: what they were measured to be at the end of their training, or later
            by ``zoo evaluate --views N --write-card``.
    """
    metrics = card.metrics
    measured = {one.views: one.accuracy for one in card.evaluations.values() if one.views > 1} | (
        {metrics["test_views"]: metrics["test_views_accuracy"]} if "test_views" in metrics else {}
    )
    return "".join(
        f"averaged over {views} views of each image {100 * accuracy:.2f} %; "
        for views, accuracy in sorted(measured.items())
    )


def written(path: Path) -> str:
    """Put the paragraph into the text of a recipe.

    Raises:
        ValueError: It has none, or several.
    """
    name = path.stem
    folder = pretrained.folder(name) if name in zoo.list_models(pretrained=True) else None
    card = None if folder is None else Card.read(folder / CARD_FILE)
    text, count = _PARAGRAPH.subn(lambda _: head(card), path.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(f"{path}: accepted is one paragraph '# Accuracy ...'; received {count}")
    return text


def main() -> None:
    """Write all recipes anew."""
    for path in paths():
        write_text(path, written(path))
        print(path)


if __name__ == "__main__":
    main()
