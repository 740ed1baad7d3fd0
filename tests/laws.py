"""The laws every codec obeys, word for word, in both directions.

    pop(push(s, x)) == (s, x)           what is pushed comes back, and nothing else has moved
    push(pop(s)) == s                   any message is a valid one: what is popped can be given back
"""
import numpy as np

from bitsback.stack import Stack


def credit(size, seed=0):
    """A stack of `size` random bytes, for tests only: a file never starts from uncharged bits."""
    return Stack(np.random.default_rng(seed).bytes(size))


def check_codec(push, pop, stack, values):
    """push(stack, values), pop(stack) -> values; `stack` must hold enough for one pop."""
    before = stack.to_words()
    push(stack, values)
    back = pop(stack)
    assert back.shape == values.shape and np.array_equal(back, values)
    assert stack.to_words() == before
    drawn = pop(stack)
    popped = stack.to_words()
    push(stack, drawn)
    assert stack.to_words() == before
    assert np.array_equal(pop(stack), drawn) and stack.to_words() == popped
    push(stack, drawn)
