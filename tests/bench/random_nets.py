"""Certify many more random nets than the property-based test does.

    python -m tests.bench.random_nets [--nets N]

Tells how near their float32 errors come to what a certificate accepts: a net of few channels and
few outputs has few errors, whose largest is a matter of luck.
"""

import argparse

from hypothesis import given, settings
from hypothesis import strategies as st

import export
from export import parity
from tests.export.random_models import random_model
from tests.export.test_folding_property import COMMON


def ratios(nets: int) -> list[float]:
    """Certify random nets; return each fold's float32 error in units of what is accepted of it.

    Raises:
        SystemExit: A fold is wrong by more than rounding.
    """
    found: list[float] = []

    @settings(COMMON, max_examples=nets)
    @given(data=st.data())
    def measure(data: st.DataObject) -> None:
        model = random_model(data.draw)
        certificate = export.certify(model, export.fold(model))
        wrong = {check.name for check in certificate.failed} - {"rounding in float32"}
        if wrong:
            raise SystemExit(certificate.why())
        found.append(certificate.folded_error / parity.limit_for(certificate.original_error))

    measure()
    return found


def main() -> None:
    """Count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", type=int, default=1000)
    found = ratios(parser.parse_args().nets)
    over = sum(ratio > 1 for ratio in found)
    print(f"{len(found)} nets, {over} over the limit; the largest error is {max(found):.2f} of it")


if __name__ == "__main__":
    main()
