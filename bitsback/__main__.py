"""`python -m bitsback` is the command `bitsback`."""
from .commands import run

run()
