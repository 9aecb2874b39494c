"""Write zoo/facts.json: the parameters and multiply-adds of every model and of all weights.

python -m tests.bench.write_facts
"""

import keras

from zoo import facts, official, registry
from zoo.cards import CARD_FILE, Card
from zoo.files import write_json

from .write_docs import ROOT


def cards() -> list[Card]:
    """The cards of the weights that are shipped or fetched."""
    shipped = [Card.read(path) for path in sorted(ROOT.glob(f"saved_models/*/{CARD_FILE}"))]
    return shipped + [official.card(name) for name in official.names()]


def main() -> None:
    """Build every model without values, count, and write."""
    found = {}
    for name in registry.entries():
        found[name] = facts.of_model(name).model_dump()
        keras.utils.clear_session(free_memory=False)
        print(name)
    for card in cards():
        found[card.name] = facts.of_card(card).model_dump()
        keras.utils.clear_session(free_memory=False)
        print(card.name)
    write_json(facts.PATH, dict(sorted(found.items())))


if __name__ == "__main__":
    main()
