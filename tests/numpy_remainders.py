"""Remainders by tests/second_decoder, under one name for their tests."""

from tests.second_decoder.remainders import decode, frequencies

__all__ = ["decode", "frequencies"]
