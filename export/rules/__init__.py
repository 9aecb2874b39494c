"""The folder's rules: how a scale and a shift pass through, or go into, each kind of layer.

Importing this package registers ours. `backward_rule` and `forward_rule` register a user's.
"""

from export.rules import activations, kernels, merging, shapes
from export.rules.engine import Affine, Plan, Reason, Refused, backward_rule, forward_rule

__all__ = [
    "Affine",
    "Plan",
    "Reason",
    "Refused",
    "activations",
    "backward_rule",
    "forward_rule",
    "kernels",
    "merging",
    "shapes",
]
