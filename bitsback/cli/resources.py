"""The model, device, threads and output folder of a run."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bitsback.cli.devices import torch_devices
from bitsback.cli.messages import print_error, print_line
from bitsback.cli.waiting import wait_settings
from bitsback.efforts import EFFORTS
from bitsback.errors import BitsbackError, WrongModel
from bitsback.whole import make_folders

if TYPE_CHECKING:
    from bitsback.coder.model import Model


def effort_model(effort: str, name: str | None = None) -> str | None:
    """The model `name` if given, else the effort's; None if that is not shipped."""
    from bitsback.integer.installed import shipped_models

    model = EFFORTS[effort].model
    return name or (model if model in shipped_models() else None)


def model_path(name: str | None) -> str | None:
    """The path of a model, for processes that open it themselves.

    name: as find_model takes it; None for the default model, if one is shipped (else None is
    returned).  Exits with status 1 if the named model does not exist.
    """
    from bitsback.coder.model import DEFAULT_MODEL
    from bitsback.integer.installed import find_model, shipped_models

    if not name:
        path = shipped_models().get(DEFAULT_MODEL)
        return str(path) if path else None
    try:
        return str(find_model(name))
    except WrongModel as error:
        print_error(error, name)
        sys.exit(1)


def open_model(name: str | None, device: str, verbose: bool) -> "Model | None":
    """The Model of a run; None if no name was given and no model is shipped.

    Exits with status 1 if the named model cannot be opened.
    """
    import torch

    from bitsback.coder.model import Model

    try:
        model = Model.open(name)
        if verbose:
            backend = model.chain(device).network.backend
            settings = "".join(f", {setting}" for setting in wait_settings())
            print_line(
                f"model {model.id[:16]} ({model.path.name}), {backend.name} on {device}, "
                f"{torch.get_num_threads()} thread(s){settings}",
                to_stderr=True,
            )
        return model
    except BitsbackError as error:
        if name is None:
            return None
        print_error(error, name)
        sys.exit(1)


def set_up(folder: Path | None, threads: int | None, device: str) -> str:
    """Makes the output folder, sets the number of threads, and returns the torch device.

    Exits with status 1 if the folder cannot be made.
    """
    make_ready(folder, threads)
    return torch_device(device)


def make_ready(folder: Path | None, threads: int | None) -> None:
    """As set_up, without a device."""
    set_threads(threads)
    if folder:
        try:
            make_folders(folder)
        except OSError as error:
            print_error(error, folder)
            sys.exit(1)


def set_threads(threads: int | None) -> None:
    """Sets torch's number of threads in this process, if given."""
    import torch

    if threads:
        torch.set_num_threads(threads)


def torch_device(name: str) -> str:
    """The torch device for --device, with `auto` resolved; a usage error if it is not there."""
    if "," in name:
        raise click.UsageError(f"--device {name}: several devices are for many files")
    return torch_devices(name)[0]
