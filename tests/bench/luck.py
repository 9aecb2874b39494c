"""How often rounding alone takes a random net's fold over the certificate's limit.

    python -m tests.bench.luck [--nets N]

The nets are those of the property-based test: a few channels, a few layers, a few outputs.
"""

import argparse

from hypothesis import given, settings
from hypothesis import strategies as st

import export
from export import parity
from tests.export.random_models import random_model
from tests.export.test_folding_property import COMMON, EPSILON

OVER = (1, 2, 4, 8, 16)


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
        own = max(certificate.original_error, EPSILON)
        found.append(certificate.folded_error / parity.limit_for(own))

    measure()
    return found


def main() -> None:
    """Count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", type=int, default=1200)
    found = ratios(parser.parse_args().nets)
    print(f"{len(found)} nets; their largest error is {max(found):.2f} of what is accepted")
    for times in OVER:
        print(f"over {times} times what is accepted: {sum(ratio > times for ratio in found)}")


if __name__ == "__main__":
    main()
