"""The laws every codec obeys, bit for bit, in both directions.

pop(push(s, x)) == (s, x)           what is pushed comes back, and nothing else has moved
push(pop(s)) == s                   any message is valid: what is popped can be given back
"""

import numpy as np

from bitsback.ans.lanes import Lanes


def credit(size, seed=0, lanes=5, loops=None):
    """Lanes over `size` random bytes, for tests only: a file starts from no uncharged bits."""
    found = Lanes(np.random.default_rng(seed).bytes(size), loops)
    found.widen(lanes)
    return found


def check_codec(push, pop, lanes, values, refuses=()):
    """push(lanes, values), pop(lanes) -> values; `lanes` must hold enough for one pop.

    refuses: the error, if any, by which pop may decline words that no push has made.  Returns
    whether the second law could be checked.
    """
    before = lanes.to_bytes()
    push(lanes, values)
    back = pop(lanes)
    assert back.shape == values.shape and np.array_equal(back, values)
    assert lanes.to_bytes() == before
    saved = lanes.copy()
    try:
        drawn = pop(lanes)
    except refuses:
        lanes.restore(saved)
        return False
    popped = lanes.to_bytes()
    push(lanes, drawn)
    assert lanes.to_bytes() == before
    assert np.array_equal(pop(lanes), drawn) and lanes.to_bytes() == popped
    push(lanes, drawn)
    return True
