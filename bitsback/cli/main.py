"""The command line: parse, call, print.  No arithmetic lives here."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import click

from bitsback import __version__
from bitsback.cli.many import job_count, run_many
from bitsback.cli.samples import preview, sample
from bitsback.cli.shared import (
    Bar,
    announcer,
    claim,
    common_options,
    each,
    fail,
    input_items,
    model_path,
    open_model,
    prepare,
    printable,
    real_path,
    refuse_terminals,
    say,
    tell,
)
from bitsback.cli.training import export, train
from bitsback.cli.waiting import limit_turns
from bitsback.efforts import DEFAULT_EFFORT, EFFORTS, chosen_model
from bitsback.errors import OutputFailed
from bitsback.memory import keep_pages


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main():
    """Lossless image compression with a diffusion prior and bits-back coding."""


@main.command()
@common_options
@click.option(
    "--archive",
    type=click.Path(path_type=Path),
    help="One file for all images of the files and folders given; none if one is refused.",
)
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Decode and compare before the output gets its name.",
)
@click.option(
    "--strip",
    is_flag=True,
    help="Leave out metadata: ICC profile, Exif with its orientation, XMP, resolution, text.",
)
@click.option(
    "--allow-metadata-loss",
    "allow_loss",
    is_flag=True,
    help="With --rm: remove inputs too that carry what cannot be kept.",
)
@click.option(
    "--allow-lossy-source",
    "allow_lossy",
    is_flag=True,
    help="Store the pixels of JPEG, lossy WebP and the like, larger though they are.",
)
@click.option(
    "-e",
    "--effort",
    type=click.IntRange(1, 9),
    default=DEFAULT_EFFORT,
    show_default=True,
    help="Speed or size: which shipped model, how long it is tuned to the image.",
)
@click.option(
    "--dask",
    "address",
    metavar="ADDRESS",
    help="Work on the cluster of this dask scheduler; its workers see the same paths.",
)
def compress(
    sources,
    output,
    folder,
    recursive,
    force,
    keep,
    remove,
    as_json,
    model,
    device,
    threads,
    jobs,
    quiet,
    verbose,
    archive,
    verify,
    strip,
    allow_loss,
    allow_lossy,
    effort,
    address,
):
    """Write NAME.bbk for each image, any still one that Pillow reads; - is standard input and output."""
    from bitsback.codecs.formats import image_files
    from bitsback.codecs.io import files

    if archive and (output or folder):
        raise click.UsageError("--archive names the output; -o and --dir do not go with it")
    if remove and (keep or not verify or allow_lossy):
        raise click.UsageError("--rm does not go with --keep, --no-verify or --allow-lossy-source")
    if address and (archive or remove):
        raise click.UsageError("--dask does not go with --archive or --rm")
    items, missed = [(archive, None)], 0
    if not archive:
        items, missed = input_items(sources, recursive, image_files.IMAGE_SUFFIXES, as_json)
    out = refuse_terminals(items, output, folder, remove)
    device, name = prepare(folder, threads, device), chosen_model(effort, model)
    choices = {
        "verify": verify,
        "strip": strip,
        "allow_lossy": allow_lossy,
        "remove": remove,
        "allow_loss": allow_loss,
        "tuning": EFFORTS[effort].tuning,
    }
    targets = dict(zip(items, files.compressed_paths(items, folder)))
    options, written, jobs = (
        choices | {"force": force, "device": device},
        {},
        job_count(jobs, recursive, len(items)),
    )

    def note(path, names):
        if not quiet:
            say(f"bitsback: {path}: not kept: {', '.join(names)}", err=True)

    def told(source, target, header, size, begin):
        if header.lost and not archive:
            note(source, header.lost)
        count = f"{len(header.entries)} images, " if header.archive else ""
        seconds, rate = time.perf_counter() - begin, 8 * size / header.dims
        facts = {
            "source": str(source),
            "target": str(target),
            "bytes": size,
            "bits_per_dim": rate,
            "method": "prior" if header.model else "plain",
            "images": len(header.entries),
            "lost": list(header.lost),
            "verified": verify,
            "removed": remove,
            "seconds": seconds,
        }
        tell(
            facts,
            f"{source} -> {target}: {count}{size} bytes, {rate:.3f} bits/dim, {seconds:.1f} s",
            as_json,
            quiet,
            out,
        )

    def work(source, root):
        begin = time.perf_counter()
        target = output or targets[source, root]
        claim(written, target, source, folder and root)
        with Bar(source, quiet) as bar:
            header, size = files.compress_file(
                source,
                target,
                progress=bar,
                announce=announcer(
                    source, verify, quiet, options["model"], device, choices["tuning"]
                ),
                **options,
            )
        written[real_path(target)] = source
        told(source, target, header, size, begin)

    def work_archive(target, _):
        begin = time.perf_counter()
        with Bar(target, quiet) as bar:
            header, size = files.compress_archive(
                sources,
                target,
                note=note,
                progress=bar,
                announce=announcer(
                    target, verify, quiet, options["model"], device, choices["tuning"]
                ),
                **options,
            )
        told(" ".join(map(str, sources)), target, header, size, begin)

    if address or jobs > 1 and not (archive or out or output):
        begin_all = time.perf_counter()
        run_many(
            "compress",
            items,
            lambda source, root: [output or targets[source, root]],
            model_path(name),
            device,
            choices,
            lambda *facts: told(*facts, begin_all),
            jobs=jobs,
            address=address,
            force=force,
            quiet=quiet,
            as_json=as_json,
            failed=missed,
            verbose=verbose,
        )
    options["model"] = open_model(name, device, verbose)
    each(items, work_archive if archive else work, output, as_json, missed, quiet)


@main.command()
@common_options
def decompress(
    sources,
    output,
    folder,
    recursive,
    force,
    keep,
    remove,
    as_json,
    model,
    device,
    threads,
    jobs,
    quiet,
    verbose,
):
    """Restore each image, to PNG (TIFF where PNG cannot hold it) or by the suffix of -o, or the tree of an archive; it is checked."""
    from bitsback.codecs.bitstream import container
    from bitsback.codecs.io import files

    if remove and keep:
        raise click.UsageError("--rm does not go with --keep")
    items, missed = input_items(sources, recursive, {files.SUFFIX}, as_json)
    out = refuse_terminals(items, output, folder, remove)
    device, written, jobs = (
        prepare(folder, threads, device),
        {},
        job_count(jobs, recursive, len(items)),
    )

    def note(path, names):
        if not quiet:
            say(
                f"bitsback: {path}: this format does not hold {', '.join(names)}"
                f"{'; the input is kept' if remove else ''}",
                err=True,
            )

    def work(source, root):
        begin = time.perf_counter()

        def claim_all(targets):
            for target in targets:
                claim(written, target, source, folder and root and len(targets) == 1)

        with Bar(source, quiet) as bar:
            paths = files.decompress_file(
                source,
                output,
                folder,
                root=root,
                force=force,
                remove=remove,
                note=note,
                model=opened,
                device=device,
                progress=bar,
                claim=claim_all,
            )
        written.update((real_path(path), source) for path in paths)
        told(source, paths, begin)

    def told(source, paths, begin):
        where, seconds = (
            paths[0] if len(paths) == 1 else f"{len(paths)} images below {folder or source.parent}",
            time.perf_counter() - begin,
        )
        facts = {"source": str(source), "targets": list(map(str, paths)), "seconds": seconds}
        tell(facts, f"{source} -> {where}, {seconds:.1f} s", as_json, quiet, out)

    def targets_of(source, root):
        return files.restored_paths(
            container.read_header(files.read_packed(source)), source, None, folder, root
        )

    def told_of_many(source, _, paths, left_out):
        for path, names in left_out:
            note(path, names)
        told(source, paths, begin_all)

    if jobs > 1 and not (out or output):
        begin_all = time.perf_counter()
        run_many(
            "decompress",
            items,
            targets_of,
            model_path(model),
            device,
            {"folder": folder, "remove": remove},
            told_of_many,
            jobs=jobs,
            force=force,
            quiet=quiet,
            as_json=as_json,
            failed=missed,
            verbose=verbose,
        )
    opened = open_model(model, device, verbose)
    each(items, work, output, as_json, missed)


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
    from bitsback.codecs.io import files

    items, missed = input_items(sources, recursive, {files.SUFFIX}, as_json)
    device = prepare(None, threads, device)
    model = open_model(model, device, False)

    def work(source, _):
        begin = time.perf_counter()
        with Bar(source, quiet) as bar:
            header = files.check_file(source, model=model, device=device, progress=bar)
        count, seconds = len(header.entries), time.perf_counter() - begin
        what = (
            f"{count} images"
            if header.archive
            else f"{header.width}x{header.height} {header.entries[0].mode}"
        )
        line = f"{source}: {what} as they were, {seconds:.1f} s"
        tell(
            {"source": str(source), "ok": True, "images": count, "seconds": seconds},
            line,
            as_json,
            quiet,
            False,
        )

    each(items, work, None, as_json, missed)


@main.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-r", "--recursive", is_flag=True, help="Work on the files below folders.")
@click.option(
    "--borders",
    is_flag=True,
    help="Also what the borders between segments cost: decodes each image and codes it in one piece (slow).",
)
@click.option("--model", help="With --borders: a shipped model's name, or the path of one.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def info(sources, recursive, borders, model, as_json):
    """Say what .bbk files hold and what they cost, without decoding them."""
    from bitsback.codecs.io.facts import describe
    from bitsback.codecs.io.packed import SUFFIX, read_packed

    def work(source, _):
        data = read_packed(source)  # once: a pipe gives it only once
        facts = describe(source, data)
        if borders:
            from bitsback.codecs.borders import border_bits

            bits = border_bits(data, model=model)
            if bits is not None:
                facts |= {
                    "border_bytes": round(bits / 8),
                    "border_bits_per_dim": bits / (3 * facts["width"] * facts["height"]),
                }
        if as_json:
            say(json.dumps(facts))
            return
        for key, value in facts.items():
            names = value if key == "names" else []
            if isinstance(value, list):
                value = "" if names else ", ".join(value) or "none"
            say(f"{key:22} {value:.4f}" if isinstance(value, float) else f"{key:22} {value}")
            for name in names:
                say(f"    {name}")

    items, missed = input_items(sources, recursive, {SUFFIX}, as_json)
    each(items, work, None, as_json, missed)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def models(as_json):
    """List the shipped models: id, size, what they were trained on and for how long."""
    from bitsback.coder.model import Model
    from bitsback.integer.model_file import shipped_models

    for name, path in shipped_models().items():
        model = Model(path)
        training = model.description["training"]
        facts = {
            "name": name,
            "id": model.id,
            "bytes": path.stat().st_size,
            "levels": len(model.levels),
            "training": training,
        }
        if as_json:
            say(json.dumps(facts))
        else:
            say(
                f"{name:10} {model.id[:16]}  {facts['bytes'] / 2**20:.1f} MiB  {facts['levels']} levels  trained "
                f"{training['minutes']:.0f} minutes ({training['device']}) on {training['data']}"
            )


for added in (train, export, sample, preview):
    main.add_command(added)


def _end(number, _):
    """What was begun is cleaned up as the exception passes: parts of outputs, and processes."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _occupy_closed_streams():
    """Standard streams that the caller closed become the null device, lest a file of ours be opened in their place and written to as such."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(
                os.open(os.devnull, os.O_RDWR), True
            )  # the lowest number that is free: this one


def _drop_output():
    """What is buffered for a standard output that takes nothing goes to the null device."""
    if sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit(status):
    """Ends the program, with 1 where what was said could not be written."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        _drop_output()
        status = status or 1
    sys.exit(status)


def _prepare_process():
    """What concerns the process as a whole: none of it is a library's business."""
    _occupy_closed_streams()
    keep_pages()
    limit_turns()  # before anything loads torch
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # nohup's ignores SIGHUP; Windows knows none
        if number and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # letters that a terminal does not know


def run():
    """Entry point: Ctrl-C exits with 130, SIGTERM 143, a usage error 2, a closed pipe quietly 1."""
    _prepare_process()
    try:
        status = main(standalone_mode=False) or 0
    except SystemExit as end:
        status = end.code
    except (KeyboardInterrupt, click.Abort):
        click.echo("bitsback: interrupted", err=True)
        status = 130
    except click.ClickException as error:
        error.message = printable(error.message)
        error.show()
        status = error.exit_code
    except BrokenPipeError:
        _drop_output()
        status = 1
    except (OSError, OutputFailed) as error:  # of files each command tells; this is of what it says
        fail(error, getattr(error, "filename", None) or "standard output")
        status = 1
    _exit(status)
