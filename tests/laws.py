"""The laws every codec obeys, word for word, in both directions.

pop(push(s, x)) == (s, x)           what is pushed comes back, and nothing else has moved
push(pop(s)) == s                   any message is valid: what is popped can be given back
"""

import numpy as np

from bitsback.ans.stack import Stack


def credit(size, seed=0):
    """A stack of `size` random bytes, for tests only: a file never starts from uncharged bits."""
    return Stack(np.random.default_rng(seed).bytes(size))


def check_codec(push, pop, stack, values, refuses=()):
    """push(stack, values), pop(stack) -> values; `stack` must hold enough for one pop.

    refuses: the error, if any, by which pop may decline words that no push has made.  Returns
    whether the second law could be checked.
    """
    before = stack.to_words()
    push(stack, values)
    back = pop(stack)
    assert back.shape == values.shape and np.array_equal(back, values)
    assert stack.to_words() == before
    saved = stack.copy()
    try:
        drawn = pop(stack)
    except refuses:
        stack.restore(saved)
        return False
    popped = stack.to_words()
    push(stack, drawn)
    assert stack.to_words() == before
    assert np.array_equal(pop(stack), drawn) and stack.to_words() == popped
    push(stack, drawn)
    return True
