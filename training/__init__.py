"""How a model is trained: data, recipes, one training loop, precision and evaluation.

Modules are imported when a name is first used: ``import training`` needs no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "data": ["Data", "Split", "list_datasets", "load_data"],
        "distribution": ["Distribution"],
        "errors": ["DivergenceError", "Interrupted", "LostProcessError", "ProcessError"],
        "evaluation": ["Metrics", "evaluate"],
        "progress": ["Progress"],
        "recipe": ["Augmentation", "Recipe", "list_recipes"],
        "runs": ["Result", "finished", "train"],
        "studies.recipe": ["StudyRecipe", "list_studies"],
        "studies.report": ["Report", "read_report"],
        "studies.runner": ["study"],
    },
)
