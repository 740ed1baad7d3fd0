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
    click.echo(f"bitsback: {printable(text)}", err=True)


def printable(text):
    """Names inside files are strangers' words: control characters, which could forge lines or command a terminal, come out escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _each(items, work, output=None, as_json=False):
    """work(source, root) for all; errors are told and the rest is still done.  Exit status 1 if any failed."""
    if output and len(items) > 1:
        raise click.UsageError("-o names one file; use --dir for several inputs")
    failed = 0
    for source, root in items:
        try:
            work(source, root)
        except BrokenPipeError:
            raise
        except (BitsbackError, OSError, MemoryError) as error:
            failed += 1
            error = BitsbackError("not enough memory for this file") if isinstance(error, MemoryError) else error
            _fail(error, source)
            if as_json:
                click.echo(json.dumps({"source": str(source), "error": str(error)}))
    sys.exit(1 if failed else 0)


def _items(sources, recursive, suffixes):
    """[(path, root)] of the inputs; ends the run where a folder holds none."""
    from .codecs import files
    try:
        return files.below(sources, recursive, suffixes)
    except BitsbackError as error:
        _fail(error, "")
        sys.exit(1)


def _refuse_terminals(items, output, folder, remove):
    """Usage errors: compressed data or pictures at a terminal, and --rm of what is no file."""
    dashes = [source for source, _ in items if str(source) == "-"]
    out = str(output) == "-" or dashes and not output
    if len(dashes) > 1 or dashes and folder:
        raise click.UsageError("- stands for standard input once, with -o or without")
    if dashes and sys.stdin.isatty():
        raise click.UsageError("- reads standard input, which is a terminal")
    if out and sys.stdout.isatty():
        raise click.UsageError("data are not written to a terminal; redirect the output or give -o")
    if remove and (dashes or out):
        raise click.UsageError("--rm removes files whose outputs are files")
    return out


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
    """What compress and decompress share."""
    for option in reversed([
            click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path)),
            click.option("-o", "--output", type=click.Path(path_type=Path), help="Output file (one input only)."),
            click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder for the outputs."),
            click.option("-r", "--recursive", is_flag=True, help="Work on the files below folders; --dir keeps the tree."),
            click.option("-f", "--force", is_flag=True, help="Overwrite existing outputs."),
            click.option("-k", "--keep", is_flag=True, help="Keep the inputs (the default)."),
            click.option("--rm", "remove", is_flag=True, help="Remove each input after its output was written, decoded and compared."),
            click.option("--json", "as_json", is_flag=True, help="One JSON object a line on standard output."),
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


def _tell(facts, line, as_json, quiet, err):
    """One line about one file: JSON if asked for, else for people; on stderr where stdout carries data."""
    if as_json:
        click.echo(json.dumps(facts), err=err)
    elif not quiet:
        click.echo(line, err=err)


def _announcer(name, verify, quiet):
    """announce(stills) for compression: says what a long run will take, before it."""
    def announce(stills):
        from .codecs.suits import estimate
        seconds, megapixels = estimate(stills, verify)
        if megapixels >= 1 and not quiet:
            click.echo(f"bitsback: {name}: {megapixels:.1f} megapixels under the prior, about {seconds / 60:.0f} minutes "
                       f"and up to {_gigabytes(megapixels):.1f} GB (as measured on one core of a 2-core machine; a GPU is faster)", err=True)
    return announce


def _gigabytes(megapixels):
    """Memory at the peak, from 0.66 GB measured at 1.2 megapixels: the program, the largest segment (at most a megapixel), the picture."""
    return 0.3 + 0.6 * min(megapixels, 1) + 0.02 * megapixels


@main.command()
@_common
@click.option("--archive", type=click.Path(path_type=Path), help="One file for all pictures of the files and folders given.")
@click.option("--verify/--no-verify", default=True, show_default=True, help="Decode and compare before the output gets its name.")
@click.option("--strip", is_flag=True, help="Leave out metadata: ICC profile, Exif with its orientation, XMP, resolution, text.")
@click.option("--allow-lossy-source", "allow_lossy", is_flag=True, help="Store the pixels of JPEG, lossy WebP and the like, larger though they are.")
def compress(sources, output, folder, recursive, force, keep, remove, as_json, model, device, threads, quiet, verbose, archive, verify, strip,
             allow_lossy):
    """Write NAME.bbk for each picture, any still one that Pillow reads; - is standard input and output."""
    from .codecs import files, images
    if archive and (output or folder):
        raise click.UsageError("--archive names the output; -o and --dir do not go with it")
    if remove and (keep or not verify or allow_lossy):
        raise click.UsageError("--rm does not go with --keep, --no-verify or --allow-lossy-source")
    items = [(archive, None)] if archive else _items(sources, recursive, images.IMAGE_SUFFIXES)
    out = _refuse_terminals(items, output, folder, remove)
    model, device = _prepare(folder, threads, device, model, verbose)
    options, written = {"force": force, "model": model, "device": device, "verify": verify, "strip": strip, "allow_lossy": allow_lossy,
                        "remove": remove}, {}

    def told(source, target, header, size, begin):
        count = f"{len(header.entries)} pictures, " if header.archive else ""
        seconds, rate = time.perf_counter() - begin, 8 * size / header.dims
        facts = {"source": str(source), "target": str(target), "bytes": size, "bits_per_dim": rate, "method": "prior" if header.model else "plain",
                 "pictures": len(header.entries), "verified": verify, "removed": remove, "seconds": seconds}
        _tell(facts, f"{source} -> {target}: {count}{size} bytes, {rate:.3f} bits/dim, {seconds:.1f} s", as_json, quiet, out)

    def work(source, root):
        begin = time.perf_counter()
        target = files.compressed_path(source, output, folder, root)
        if target in written and not out:
            raise OutputExists(f"{source}: {target} was just written for {written[target]}; give --dir or other names")
        if root and folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        with Bar(source, quiet) as bar:
            header, size = files.compress_file(source, target, progress=bar, announce=_announcer(source, verify, quiet), **options)
        written[target] = source
        told(source, target, header, size, begin)

    def work_archive(target, _):
        begin = time.perf_counter()
        with Bar(target, quiet) as bar:
            header, size = files.compress_archive(sources, target, progress=bar, announce=_announcer(target, verify, quiet), **options)
        told(" ".join(map(str, sources)), target, header, size, begin)

    _each(items, work_archive if archive else work, output, as_json)


@main.command()
@_common
def decompress(sources, output, folder, recursive, force, keep, remove, as_json, model, device, threads, quiet, verbose):
    """Restore each picture, to PNG (TIFF where PNG cannot hold it) or by the suffix of -o, or the tree of an archive; it is checked."""
    from .codecs import files
    if remove and keep:
        raise click.UsageError("--rm does not go with --keep")
    items = _items(sources, recursive, {files.SUFFIX})
    out = _refuse_terminals(items, output, folder, remove)
    model, device = _prepare(folder, threads, device, model, verbose)
    written = {}

    def note(path, names):
        if not quiet:
            click.echo(f"bitsback: {path}: this format does not hold {', '.join(names)}{'; the input is kept' if remove else ''}", err=True)

    def work(source, root):
        begin = time.perf_counter()
        place = files.restored_path(source, output, folder, root)
        if place in written and not out:
            raise OutputExists(f"{source}: {place} was just written for {written[place]}; give --dir or other names")
        if root and folder:
            place.parent.mkdir(parents=True, exist_ok=True)
        with Bar(source, quiet) as bar:
            paths = files.decompress_file(source, output, folder, root=root, force=force, remove=remove, note=note, model=model, device=device,
                                          progress=bar)
        written.update(dict.fromkeys([place, *paths], source))
        where, seconds = paths[0] if len(paths) == 1 else f"{len(paths)} pictures below {folder or source.parent}", time.perf_counter() - begin
        facts = {"source": str(source), "targets": list(map(str, paths)), "seconds": seconds}
        _tell(facts, f"{source} -> {where}, {seconds:.1f} s", as_json, quiet, out)

    _each(items, work, output, as_json)


@main.command("test")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-r", "--recursive", is_flag=True, help="Work on the files below folders.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--model", help="A shipped model's name, or the path of one.")
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("-T", "--threads", type=click.IntRange(1), help="CPU threads of the network.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
def check(sources, recursive, as_json, model, device, threads, quiet):
    """Decode .bbk files and check every checksum inside, without writing anything."""
    from .codecs import files
    items = _items(sources, recursive, {files.SUFFIX})
    model, device = _prepare(None, threads, device, model, False)

    def work(source, _):
        begin = time.perf_counter()
        with Bar(source, quiet) as bar:
            header = files.check_file(source, model=model, device=device, progress=bar)
        count, seconds = len(header.entries), time.perf_counter() - begin
        what = f"{count} pictures" if header.archive else f"{header.width}x{header.height} {header.entries[0].mode}"
        line = f"{source}: {what} as they were, {seconds:.1f} s"
        _tell({"source": str(source), "ok": True, "pictures": count, "seconds": seconds}, line, as_json, quiet, False)

    _each(items, work, None, as_json)


@main.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-r", "--recursive", is_flag=True, help="Work on the files below folders.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def info(sources, recursive, as_json):
    """Say what .bbk files hold and what they cost, without decoding them."""
    from .codecs import files

    def work(source, _):
        facts = files.describe(source)
        if as_json:
            click.echo(json.dumps(facts))
            return
        for key, value in facts.items():
            if key == "names":
                value = "".join(f"\n    {printable(name)}" for name in value)
            elif isinstance(value, list):
                value = ", ".join(value) or "none"
            click.echo(f"{key:22} {value:.4f}" if isinstance(value, float) else f"{key:22} {value}")

    _each(_items(sources, recursive, {files.SUFFIX}), work, None)


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
