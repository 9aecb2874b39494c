"""Certify the fold of every model of keras.applications that has BatchNorm.

    python -m tests.bench.certificates [--models A,B] [--out FILE]

Like the other comparisons, it goes on where it was stopped. Times play no part in the results.
"""

from typing import Any

import export

from .models import APPLICATIONS, application
from .records import fill

# From this model of the list on, float64 over a dozen images would take hours at the default size.
# The layers, their weights and what is folded are the same at this one.
SMALL = 128
CERTIFIED_SMALL = APPLICATIONS[APPLICATIONS.index("ResNet152") :]


def certify(name: str) -> dict[str, Any]:
    """Certify the fold of a model."""
    model = application(name, SMALL if name in CERTIFIED_SMALL else None)
    certificate = export.certify(model, export.fold(model))
    return {
        "ok": certificate.ok,
        "why": "" if certificate.ok else certificate.why(),
        "size": model.inputs[0].shape[1],
        "algebra": certificate.algebra,
        "original_error": certificate.original_error,
        "folded_error": certificate.folded_error,
    }


def main() -> None:
    """Certify what the file lacks."""
    fill("certificates", __doc__, APPLICATIONS, certify)


if __name__ == "__main__":
    main()
