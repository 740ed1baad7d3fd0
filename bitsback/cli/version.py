"""The option `--version`: of the program, of what it reads and computes, and the models here."""

import click

from bitsback import __version__
from bitsback.cli.messages import print_line


def print_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    """Prints the versions and the models' ids, by the heads of their files alone, and exits."""
    if not asked or context.resilient_parsing:
        return
    from bitsback.codecs.bitstream.version import VERSION_NAME
    from bitsback.integer.installed import (
        ARITHMETIC_VERSION,
        ID_DIGITS,
        added_models,
        shipped_models,
        stored_id,
    )

    print_line(f"bitsback {__version__}")
    print_line(f"format {VERSION_NAME}")
    print_line(f"arithmetic {ARITHMETIC_VERSION}")
    for name, path in shipped_models().items():
        print_line(f"model {(stored_id(path) or 'damaged')[:ID_DIGITS]}  {name}")
    for path, model_id in added_models()[0].items():
        print_line(f"model {model_id[:ID_DIGITS]}  {path}")
    context.exit()
