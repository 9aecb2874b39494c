"""What a model is: builders, one norm object, the registry, cards and pretrained weights."""

from zoo.cards import Card
from zoo.errors import InputError
from zoo.norm import Norm
from zoo.preprocessing import Preprocessing
from zoo.pretrained import card, load_model
from zoo.registry import Options, create_model, list_models, register_model

__all__ = [
    "Card",
    "InputError",
    "Norm",
    "Options",
    "Preprocessing",
    "card",
    "create_model",
    "list_models",
    "load_model",
    "register_model",
]
