"""``python -m zoo``: the command ``zoo``."""

from zoo.cli import main

main()
