"""`python -m bitsback` is the command `bitsback`."""

from bitsback.cli.main import run

run()
