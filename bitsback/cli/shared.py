"""What the commands share: options, errors as one line, the model, progress, what is told."""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import click

from bitsback.cli.waiting import asked
from bitsback.errors import BitsbackError, LossySource, OutputExists, OutputFailed, WrongModel


def fail(error, name):
    """One line on stderr that begins with the file's name."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{name}: {error.strerror}"
    elif str(name) not in text:
        text = f"{name}: {text}"
    say(f"bitsback: {text}", err=True)


def fail_file(error, source, as_json=False):
    """What `fail` says, of one of the files of a run, and the same in JSON."""
    error = (
        BitsbackError("not enough memory for this file")
        if isinstance(error, MemoryError)
        else error
    )
    fail(error, source)
    if as_json:
        with suppress(OutputFailed):  # where that takes no more: it is told above
            say(json.dumps({"source": str(source), "error": str(error)}))


def real_path(path):
    """A path with its links followed: outputs that are one file under two names are one output."""
    return os.path.realpath(path)


def claim(written, target, source, make_folder):
    """Refuses a target of another input of this run, and makes its folder if asked to.

    written: {real_path(target): source}.  Errors: OutputExists, OSError.
    """
    other = written.get(real_path(target))
    if other is not None and str(target) != "-":
        raise OutputExists(
            f"{source}: {target} is also the output of {other}; give --dir or other names"
        )
    if make_folder:
        target.parent.mkdir(parents=True, exist_ok=True)


def printable(text):
    """Names of files and in files are strangers' words: control characters come out escaped.

    They could forge lines or command a terminal.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def each(items, work, output=None, as_json=False, failed=0, quiet=False):
    """work(source, root) for all; errors are told and the rest is still done.

    Exit status 1 if any failed, or `failed` did before.
    """
    if output and len(items) > 1:
        raise click.UsageError("-o names one file; use --dir for several inputs")
    left = 0
    for source, root in items:
        try:
            work(source, root)
        except BrokenPipeError:
            raise
        except (BitsbackError, OSError, MemoryError) as error:
            if left_alone(error, source, root, as_json):
                left += 1
                continue
            failed += 1
            fail_file(error, source, as_json)
    tell_left(left, quiet)
    sys.exit(1 if failed else 0)


def left_alone(error, source, root, as_json):
    """Whether an error is no failure: a file found below a folder that is better kept as it is.

    Told in JSON; for people tell_left counts them.
    """
    if root is None or not isinstance(error, LossySource):
        return False
    if as_json:
        click.echo(json.dumps({"source": str(source), "left": str(error)}))
    return True


def tell_left(count, quiet):
    """What people are told of the files that were left alone."""
    if count and not quiet:
        say(
            f"bitsback: {count} {'file' if count == 1 else 'files'} compressed with loss already "
            "(JPEG and the like) left as they are; --allow-lossy-source takes them",
            err=True,
        )


def input_items(sources, recursive, suffixes, as_json=False):
    """[(path, root)] of the inputs, and how many names could not be looked at, which is told.

    Ends the run where nothing is left to work on.
    """
    from bitsback.codecs.io import folders

    items, failures = folders.below(sources, recursive, suffixes)
    for path, error in failures:
        fail_file(error, path, as_json)
    if not items:
        sys.exit(1)
    return items, len(failures)


def refuse_terminals(items, output, folder, remove):
    """Usage errors: compressed data or images at a terminal, and --rm of what is no file."""
    dashes = [source for source, _ in items if str(source) == "-"]
    out = str(output) == "-" or dashes and not output
    if len(dashes) > 1 or dashes and folder:
        raise click.UsageError("- stands for standard input once, with -o or without")
    if dashes and sys.stdin and sys.stdin.isatty():  # None: closed
        raise click.UsageError("- reads standard input, which is a terminal")
    if out and sys.stdout and sys.stdout.isatty():
        raise click.UsageError("data are not written to a terminal; redirect the output or give -o")
    if remove and (dashes or out):
        raise click.UsageError("--rm removes files whose outputs are files")
    return out


class Bar:
    """A progress bar on stderr for what takes over a second; silent off a terminal and with quiet."""

    def __init__(self, name, quiet):
        from tqdm import tqdm

        self.bar = tqdm(
            total=100,
            desc=printable(str(name)),
            unit="%",
            delay=1,
            leave=False,
            disable=True if quiet else None,
        )

    def __call__(self, share):
        self.bar.update(round(100 * share) - self.bar.n)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()


def common_options(command):
    """What compress and decompress share."""
    for option in reversed(
        [
            click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path)),
            click.option(
                "-o",
                "--output",
                type=click.Path(path_type=Path),
                help="Output file (one input only).",
            ),
            click.option(
                "--dir",
                "folder",
                type=click.Path(path_type=Path, file_okay=False),
                help="Folder for the outputs.",
            ),
            click.option(
                "-r",
                "--recursive",
                is_flag=True,
                help="Work on the files below folders, as their suffixes tell; --dir keeps the tree.",
            ),
            click.option("-f", "--force", is_flag=True, help="Overwrite existing outputs."),
            click.option("-k", "--keep", is_flag=True, help="Keep the inputs (the default)."),
            click.option(
                "--rm",
                "remove",
                is_flag=True,
                help="Remove each input after its output was written, decoded and compared.",
            ),
            click.option(
                "--json", "as_json", is_flag=True, help="One JSON object a line on standard output."
            ),
            click.option("--model", help="A shipped model's name, or the path of one."),
            click.option(
                "--device", default="cpu", show_default=True, help="auto, cpu, cuda or cuda:N."
            ),
            click.option(
                "-T", "--threads", type=click.IntRange(1), help="CPU threads of the network."
            ),
            click.option(
                "-j",
                "--jobs",
                type=click.IntRange(1),
                help="Files at once, a process each (with -r: as many as cores).",
            ),
            click.option("-q", "--quiet", is_flag=True, help="Errors only."),
            click.option(
                "-v",
                "--verbose",
                is_flag=True,
                help="Say which model and which arithmetic is used.",
            ),
        ]
    ):
        command = option(command)
    return command


def model_path(name):
    """The path of a shipped model or of a file, for processes that open it themselves; None where nothing is shipped and nothing was named."""
    from bitsback.coder.model import DEFAULT_MODEL
    from bitsback.integer.model_file import shipped_models

    shipped = shipped_models()
    path = shipped.get(str(name or DEFAULT_MODEL), Path(name) if name else None)
    if name and not path.is_file():
        fail(WrongModel(f"{name}: no such model; shipped: {', '.join(shipped) or 'none'}"), name)
        sys.exit(1)
    return path and str(path)


def prepare(folder, threads, device):
    """The device of a run; makes its folder."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    if folder:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fail(error, folder)
            sys.exit(1)
    return torch_device(device)


def open_model(name, device, verbose):
    """The Model of a run; None where nothing is shipped and nothing was named."""
    import torch

    from bitsback.coder.model import Model

    try:
        model = Model.open(name)
        if verbose:
            backend = model.chain(device).network.backend
            say(
                f"model {model.id[:16]} ({model.path.name}), {backend.name} on {device}, "
                f"{torch.get_num_threads()} thread(s){''.join(f', {told}' for told in asked())}",
                err=True,
            )
        return model
    except BitsbackError as error:
        if name is None:
            return None
        fail(error, name)
        sys.exit(1)


def torch_device(name):
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise click.UsageError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return name


def say(line, err=False):
    """One line on standard output or standard error, whatever the names in it hold.

    Errors: OutputFailed where it takes no more; BrokenPipeError.
    """
    try:
        click.echo(printable(line), err=err)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(f"standard {'error' if err else 'output'}: {error.strerror}") from None


def tell(facts, line, as_json, quiet, err):
    """One line about one file: JSON if asked for, else for people; on stderr where stdout carries data."""
    if as_json:
        say(json.dumps(facts), err)
    elif not quiet:
        say(line, err)


def announcer(name, verify, quiet, model, device, tuning):
    """announce(stills) for compression: says what a long run will take, before it."""

    def announce(images):
        from bitsback.codecs.estimate import LONG, estimate

        if quiet or not model:
            return
        seconds, megapixels = estimate(images, verify, model, device, tuning)
        if megapixels >= LONG:
            say(
                f"bitsback: {name}: {megapixels:.1f} megapixels under the prior, about {max(1, seconds / 60):.0f} minutes at this machine's "
                f"present pace and up to {gigabytes(megapixels):.1f} GB",
                err=True,
            )

    return announce


def gigabytes(megapixels):
    """Memory at the peak (benchmarks/results/memory.md): the program, the largest segment (at most a megapixel) and what it leaves, the image."""
    return 0.3 + 0.9 * min(megapixels / 8, 1) + 0.014 * megapixels
