"""Studies of what normalization does to training: claims, experiments, and verdicts by rule.

Each study is a recipe in ``recipes`` and a module of its name here. A recipe states every claim and
the rule that decides it before anything is trained; the verdict is computed, never written.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "recipe": ["StudyRecipe", "list_studies"],
        "report": ["Report", "read_report"],
        "runner": ["study"],
    },
)
