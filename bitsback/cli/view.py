"""The command `view`."""

import sys
import time
import webbrowser
from pathlib import Path

import click

from bitsback.cli.devices import with_memory
from bitsback.cli.messages import FAILURES, print_file_error, print_line
from bitsback.cli.options import PathName, device_option, model_option, threads_option
from bitsback.cli.resources import open_model, set_up


@click.command()
@click.argument("source", type=PathName())
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="On 127.0.0.1; 0: any.")
@click.option("--open/--no-open", "browser", help="Also open the page in the browser.")
@model_option
@device_option
@threads_option
def view(
    source: Path, port: int, browser: bool, model: str | None, device: str, threads: int | None
) -> None:
    """Show a .bbk file in a web page as it is decoded; print the page's address.

    A preview, each segment as it is decoded, a map of where the bits went, metadata and sizes; the
    first 1000 images of an archive. The page is served on this machine alone, to whom knows the
    address. Ctrl-C ends it (exit status 130).
    """
    device = set_up(None, threads, device)
    prior = open_model(model, device, verbose=False)
    try:
        from bitsback.cli.view_contents import Contents
        from bitsback.cli.view_server import Server
        from bitsback.codecs.bitstream.chosen import as_one
        from bitsback.codecs.io.packed import read_packed

        contents = Contents(source, read_packed(source), prior)
        server = Server(contents.files, port)
    except FAILURES as error:
        print_file_error(error, source)
        sys.exit(1)
    print_line(server.address)
    if browser:
        webbrowser.open(server.address)
    try:
        with_memory(contents.decode, device, source)
        if contents.damage:
            print_file_error(as_one(contents.damage), source)
    except FAILURES as error:
        print_file_error(error, source)
        contents.fail(error)
    while True:  # in the main thread, as decoding is, so that Ctrl-C ends either at once
        time.sleep(3600)
