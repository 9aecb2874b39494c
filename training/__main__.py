"""``python -m training RECIPE ...`` is the same as ``zoo train RECIPE ...``."""

import sys

from zoo.cli import main

main(["train", *sys.argv[1:]])
