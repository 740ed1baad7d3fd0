"""The command line: the group of commands and the program's entry point."""

import errno

import click

from bitsback.cli.check import check
from bitsback.cli.compress import compress
from bitsback.cli.decompress import decompress
from bitsback.cli.evaluate import evaluate
from bitsback.cli.export import export
from bitsback.cli.info import info
from bitsback.cli.map import bit_map
from bitsback.cli.messages import print_error, printable
from bitsback.cli.models import models
from bitsback.cli.preview import preview
from bitsback.cli.process import discard_output, exit_program, prepare_process
from bitsback.cli.sample import sample
from bitsback.cli.train import train
from bitsback.cli.version import print_version
from bitsback.cli.view import view
from bitsback.errors import OutputFailed

LIMITS = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM}  # of files and processes


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Print the versions of program, format and arithmetic, and the models that are here.",
)
def main() -> None:
    """Lossless image compression with a diffusion prior and bits-back coding."""


for _command in (
    compress,
    decompress,
    check,
    info,
    models,
    train,
    export,
    evaluate,
    bit_map,
    sample,
    preview,
    view,
):
    main.add_command(_command)


def run() -> None:
    """Runs the program and exits with its status.

    2 after a usage error, 130 after Ctrl-C, 143 after SIGTERM, 1 after any other error; a closed
    pipe is an error without a message.
    """
    prepare_process()
    try:
        # on Windows click would take the values of options for patterns, and names with [1]
        status = main(standalone_mode=False, windows_expand_args=False) or 0
    except SystemExit as end:
        status = end.code
    except (KeyboardInterrupt, click.Abort):
        click.echo("bitsback: interrupted", err=True)
        status = 130
    except click.ClickException as error:
        error.message = printable(error.message)  # type: ignore[misc]  # "final" in click 8.5
        error.show()
        status = error.exit_code
    except BrokenPipeError:
        discard_output()
        status = 1
    except (OSError, OutputFailed) as error:  # commands print those of files
        name = "this process" if getattr(error, "errno", 0) in LIMITS else "standard output"
        print_error(error, getattr(error, "filename", None) or name)
        status = 1
    exit_program(status)
