"""The command line: parse, call, print.  No arithmetic lives here."""
import json
import os
import sys
import time
from pathlib import Path

import click

from . import __version__
from .commands_samples import preview, sample
from .errors import BitsbackError, OutputExists, TrainingError


def _fail(error, name):
    """One line on stderr that begins with the file's name."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{name}: {error.strerror}"
    elif str(name) not in text:
        text = f"{name}: {text}"
    click.echo(f"bitsback: {text}", err=True)


def _each(sources, output, work):
    """work(source) for all; errors are told and the rest is still done.  Exit status 1 if any failed."""
    if output and len(sources) > 1:
        raise click.UsageError("-o names one file; use --dir for several inputs")
    failed = 0
    for source in sources:
        try:
            work(source)
        except BrokenPipeError:
            raise
        except (BitsbackError, OSError) as error:
            failed += 1
            _fail(error, source)
    sys.exit(1 if failed else 0)


class Bar:
    """A progress bar on stderr for what takes over a second; silent off a terminal and with quiet."""

    def __init__(self, name, quiet):
        from tqdm import tqdm
        self.bar = tqdm(total=100, desc=str(name), unit="%", delay=1, leave=False, disable=True if quiet else None)

    def __call__(self, share):
        self.bar.update(round(100 * share) - self.bar.n)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main():
    """Lossless image compression with a diffusion prior and bits-back coding."""


def _common(command):
    for option in reversed([
            click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path)),
            click.option("-o", "--output", type=click.Path(path_type=Path), help="Output file (one input only)."),
            click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder for the outputs."),
            click.option("-f", "--force", is_flag=True, help="Overwrite existing outputs."),
            click.option("--model", help="A shipped model's name, or the path of one."),
            click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda or cuda:N."),
            click.option("-T", "--threads", type=click.IntRange(1), help="CPU threads of the network."),
            click.option("-q", "--quiet", is_flag=True, help="Errors only."),
            click.option("-v", "--verbose", is_flag=True, help="Say which model and which arithmetic is used.")]):
        command = option(command)
    return command


def _prepare(folder, threads, device, name, verbose):
    """(Model or None, device) for a run; None where nothing is shipped and nothing was named."""
    import torch
    from .model import Model
    if threads:
        torch.set_num_threads(threads)
    if folder:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            _fail(error, folder)
            sys.exit(1)
    device = _device(device)
    try:
        model = Model.open(name)
        if verbose:
            backend = model.chain(device).network.backend
            click.echo(f"model {model.id[:16]} ({model.path.name}), {backend.name} on {device}, "
                       f"{torch.get_num_threads()} thread(s)", err=True)
        return model, device
    except BitsbackError as error:
        if name is None:
            return None, device
        _fail(error, name)
        sys.exit(1)


def _device(name):
    import torch
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise click.UsageError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return name


@main.command()
@_common
@click.option("--archive", type=click.Path(path_type=Path), help="One file for all pictures of the files and folders given.")
def compress(sources, output, folder, force, model, device, threads, quiet, verbose, archive):
    """Write NAME.bbk for each picture: 8-bit RGB of any size, in any format that Pillow reads."""
    from .codecs import files
    if archive and (output or folder):
        raise click.UsageError("--archive names the output; -o and --dir do not go with it")
    model, device = _prepare(folder, threads, device, model, verbose)
    options, written = {"force": force, "model": model, "device": device}, set()

    def told(source, target, header, size, begin):
        if not quiet:
            count = f"{len(header.entries)} pictures, " if header.archive else ""
            click.echo(f"{source} -> {target}: {count}{size} bytes, {8 * size / header.dims:.3f} bits/dim, {time.perf_counter() - begin:.1f} s")

    def work(source):
        begin = time.perf_counter()
        target = files.compressed_path(source, output, folder)
        if target in written:
            raise OutputExists(f"{source}: {target} was just written for another input; give --dir or other names")
        with Bar(source, quiet) as bar:
            header, size = files.compress_file(source, target, progress=bar, **options)
        written.add(target)
        told(source, target, header, size, begin)

    def work_archive(target):
        begin = time.perf_counter()
        with Bar(target, quiet) as bar:
            header, size = files.compress_archive(sources, target, progress=bar, **options)
        told(" ".join(map(str, sources)), target, header, size, begin)

    _each([archive] if archive else sources, output, work_archive if archive else work)


@main.command()
@_common
def decompress(sources, output, folder, force, model, device, threads, quiet, verbose):
    """Restore the pixels of each .bbk file, to PNG or by the suffix of -o, or the tree of an archive; they are checked."""
    from .codecs import files
    model, device = _prepare(folder, threads, device, model, verbose)

    def work(source):
        begin = time.perf_counter()
        with Bar(source, quiet) as bar:
            paths = files.decompress_file(source, output, folder, force=force, model=model, device=device, progress=bar)
        if not quiet:
            written = paths[0] if len(paths) == 1 else f"{len(paths)} pictures below {folder or source.parent}"
            click.echo(f"{source} -> {written}, {time.perf_counter() - begin:.1f} s")

    _each(sources, output, work)


@main.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def info(sources, as_json):
    """Say what .bbk files hold and what they cost, without decoding them."""
    from .codecs import files

    def work(source):
        facts = files.describe(source)
        if as_json:
            click.echo(json.dumps(facts))
            return
        for key, value in facts.items():
            if key == "names":
                value = "".join(f"\n    {name}" for name in value)
            click.echo(f"{key:22} {value:.4f}" if isinstance(value, float) else f"{key:22} {value}")

    _each(sources, None, work)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def models(as_json):
    """List the shipped models: id, size, what they were trained on and for how long."""
    from .model import Model
    from .weights import shipped_models
    for name, path in shipped_models().items():
        model = Model(path)
        training = model.description["training"]
        facts = {"name": name, "id": model.id, "bytes": path.stat().st_size, "levels": len(model.levels), "training": training}
        if as_json:
            click.echo(json.dumps(facts))
        else:
            click.echo(f"{name:10} {model.id[:16]}  {facts['bytes'] / 2**20:.1f} MiB  {facts['levels']} levels  trained "
                       f"{training['minutes']:.0f} minutes ({training['device']}) on {training['data']}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Model file; OUTPUT.ckpt is kept beside it.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=100.0, show_default=True)
@click.option("--resume", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Checkpoint (.ckpt) to go on from; one of a smaller network is grown.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--network", "sizes", default="48,3,64,2,96,2", show_default=True, help="Width and blocks of half, quarter and eighth resolution.")
@click.option("--batch", type=click.IntRange(8), help="Patches a step (16; 256 on a GPU).")
@click.option("--patch", type=click.IntRange(16), default=64, show_default=True, help="Side of a patch, a multiple of 8.")
@click.option("--decay-from", type=click.FloatRange(0, 1), default=0.33, show_default=True, help="Share of the run before the learning rate falls.")
@click.option("--lr-scale", type=click.FloatRange(0, 10, min_open=True), default=1.0, show_default=True, help="Learning rates times this: 0.3 to go on from a trained network.")
@click.option("--integer", is_flag=True, help="Round in training as the integer model does.")
@click.option("--at-levels", is_flag=True, help="Train at the coder's own levels only: for the last part.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--data-name", help="What `bitsback models` says it was trained on (default: FOLDER).")
@click.option("-T", "--threads", type=click.IntRange(1), help="CPU threads; one is best beside other work.")
@click.option("-q", "--quiet", is_flag=True)
def train(folder, output, minutes, resume, device, sizes, batch, patch, decay_from, lr_scale, integer, at_levels, seed, data_name, threads, quiet):
    """Train a prior on the pictures below FOLDER; the loss log goes to OUTPUT.log.jsonl."""
    import torch
    from . import training
    from .denoiser import NetworkConfig
    device = _device(device)
    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        width1, n1, width2, n2, width3, n3 = map(int, sizes.split(","))
        network = NetworkConfig(width1, n1, width2, n2, width3, n3)
    except ValueError:
        raise click.UsageError("--network takes six whole numbers, such as 48,3,64,2,96,2") from None
    if patch % 8:
        raise click.UsageError("--patch must be a multiple of 8")
    config = training.TrainingConfig(
        minutes=minutes, batch=batch or (256 if device.startswith("cuda") else 16), patch=patch, decay_from=min(decay_from, 0.999), lr_scale=lr_scale,
        integer=integer, at_levels=at_levels, seed=seed, bfloat16=training.prefers_bfloat16(device))
    try:
        log = open(f"{output}.log.jsonl", "a" if resume else "w", encoding="utf-8")
    except OSError as error:
        _fail(error, output)
        sys.exit(1)

    def report(row):
        log.write(json.dumps(row) + "\n")
        log.flush()
        bar(row["share"])
        if not quiet:
            click.echo(f"{row['minutes']:7.1f} min  step {row['steps']:6d}  bits/dim {row['total']:.4f} = levels {row['level']:.4f} + "
                       f"pixels {row['pixel']:.4f} + top {row['top']:.4f}  {row['pixels_per_second']} pixels/s", err=True)

    with log, Bar(output, quiet) as bar:
        try:
            training.train(folder, output, network=network, config=config, device=device, resume=resume, report=report, data_name=data_name)
        except (TrainingError, OSError) as error:
            _fail(error, folder)
            sys.exit(1)


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Model file.")
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Pictures to measure the cost of rounding on.")
@click.option("--limit", type=click.IntRange(1), default=12, show_default=True, help="Pictures of DATA to take.")
@click.option("--equalise", "training_data", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Training pictures to equalise hidden channels on: for a model trained without --integer.")
@click.option("--data-name", default="not said", help="What `bitsback models` says it was trained on.")
def export(checkpoint, output, data, limit, training_data, data_name):
    """Turn a checkpoint of `train` into an integer model, and say what rounding costs."""
    from .levels import default_levels
    from .training import read_checkpoint
    from .weights import save_model
    try:
        network, told = read_checkpoint(checkpoint)
        if training_data:
            from .equalise import equalise
            from .measure import centre_crops
            equalise(network, default_levels(), centre_crops(training_data, 6, side=192))
        save_model(output, network, default_levels(), told | {"device": "cpu", "data": data_name})
        if data:
            from .measure import bound_bits, centre_crops
            pictures = centre_crops(data, limit)
            rates = {name: sum(bound_bits(network, default_levels(), pictures, integer)) for name, integer in (("float", False), ("integer", True))}
            click.echo(f"bound on {len(pictures)} centre crops of {data}: float {rates['float']:.4f}, integer {rates['integer']:.4f} bits/dim; "
                       f"rounding costs {rates['integer'] - rates['float']:+.4f}")
    except (BitsbackError, OSError) as error:
        _fail(error, checkpoint)
        sys.exit(1)


main.add_command(sample)
main.add_command(preview)


def run():
    """Entry point: Ctrl-C exits with 130, a usage error with 2, a closed pipe quietly with 1."""
    try:
        sys.exit(main(standalone_mode=False) or 0)
    except (KeyboardInterrupt, click.Abort):
        click.echo("bitsback: interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
