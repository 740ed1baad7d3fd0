"""Float weights that the trained experts of recipes begin from, small enough to send.

    python -m benchmarks.card.start FOLDER RECIPE...

FOLDER/NAME.weights has the experts of the recipe's start that it trains (packed_weights.py).
"""

import sys
from pathlib import Path

from bitsback.train.packed_weights import pack
from bitsback.train.recipe import read_recipe
from bitsback.train.restart import as_checkpoint

PRESET = 6  # of LZMA


def main() -> None:
    folder = Path(sys.argv[1])
    for path in sys.argv[2:]:
        recipe, states = read_recipe(path, folder), []
        if recipe.start is None:
            raise SystemExit(f"{path}: its experts start from nothing")
        for expert in recipe.trained:
            state = as_checkpoint(recipe.start, expert.only)
            states.append(state | {"only": [expert.only.start, expert.only.stop]})
        data = pack(states, PRESET)
        (folder / f"{recipe.name}.weights").write_bytes(data)
        print(recipe.name, len(states), "experts,", len(data), "bytes")


if __name__ == "__main__":
    main()
