"""The command `decompress`."""

import time
from collections.abc import Iterable
from pathlib import Path

import click

from bitsback.cli.devices import torch_devices, with_memory
from bitsback.cli.each import process_each
from bitsback.cli.inputs import check_streams, find_inputs, has_pipes
from bitsback.cli.many import group_processes, job_count, run_many
from bitsback.cli.messages import ProgressBar, print_line, print_log, print_result
from bitsback.cli.options import CommonOptions, common_options
from bitsback.cli.resources import make_ready, model_path, open_model
from bitsback.cli.run_outputs import RunOutputs
from bitsback.devices import is_gpu
from bitsback.errors import DamagedFile, MetadataLoss


@click.command()
@common_options
@click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Of an archive, only images whose names match, such as 'train/cat*'; may be repeated.",
)
@click.option(
    "--salvage",
    is_flag=True,
    help="Of damaged files, write what can be decoded: whole images of an archive, and parts of "
    "images as NAME.salvaged.png, transparent where pixels are lost.",
)
def decompress(common: CommonOptions, only: tuple[str, ...], salvage: bool) -> None:
    """Restore the images of .bbk files, and check all checksums.

    The format is PNG (TIFF for what PNG cannot hold), or the one of the suffix of -o. An archive
    becomes a tree of images; with -j, its groups are decoded at once.
    """
    from bitsback.codecs.bitstream.chosen import header_of, in_one_line
    from bitsback.codecs.damage import looked_at
    from bitsback.codecs.io import files
    from bitsback.codecs.io.packed import read_packed_with
    from bitsback.codecs.io.paths import substitute_paths
    from bitsback.codecs.io.salvaged import salvage_file

    if common.remove and (common.keep or only):
        raise click.UsageError("--rm cannot be combined with --keep or --only")
    if salvage and (common.remove or only):
        raise click.UsageError("--salvage cannot be combined with --rm or --only")
    items, failed = find_inputs(
        common.sources, common.recursive, {files.SUFFIX}, common.as_json, common.remove
    )
    to_stdout = check_streams(items, common.output, common.folder, common.remove)
    make_ready(common.folder, common.threads)
    print_log(common.verbose)
    devices = torch_devices(common.device)
    jobs = job_count(common.jobs, common.recursive, len(items), gpu=is_gpu(devices[0]))
    outputs = RunOutputs(items)

    def print_loss(path: Path, names: Iterable[str]) -> None:
        if not common.quiet:
            told = f"bitsback: {path}: this format does not hold {', '.join(names)}"
            print_line(told, to_stderr=True)

    def refuse_loss(source: Path, lost: bool) -> None:
        if lost and common.remove:
            raise MetadataLoss(f"{source}: is kept, since its output does not hold all metadata")

    def report(source: Path, paths: list[Path], begin: float) -> None:
        seconds = time.perf_counter() - begin
        facts = {"source": str(source), "targets": list(map(str, paths)), "seconds": seconds}
        where = f"{len(paths)} images below {common.folder or source.parent}"
        print_result(
            facts,
            f"{source} -> {paths[0] if len(paths) == 1 else where}, {seconds:.1f} s",
            as_json=common.as_json,
            quiet=common.quiet,
            to_stderr=to_stdout,
        )

    many = jobs > 1 or len(devices) > 1 and len(items) > 1
    if many and not (has_pipes(items) or common.output or salvage):
        run_begin = time.perf_counter()

        def targets_of(source: Path, root: Path | None) -> tuple[list[Path], list[Path]]:
            header = header_of(files.read_packed(source), only)
            paths = files.restored_paths(header, source, None, common.folder, root)
            return paths, substitute_paths(header, source, common.folder, root)

        def report_task(source: Path, _: None, paths: list[Path], left_out: list) -> None:
            for path, names in left_out:
                print_loss(path, names)
            report(source, paths, run_begin)
            refuse_loss(source, bool(left_out))

        run_many(
            "decompress",
            items,
            targets_of,
            model_path(common.model),
            devices,
            {"folder": common.folder, "remove": common.remove, "only": only},
            report_task,
            jobs=jobs,
            force=common.force,
            quiet=common.quiet,
            as_json=common.as_json,
            failed=failed,
            verbose=common.verbose,
        )
    model = open_model(common.model, devices[0], common.verbose)

    def decompress_one(source: Path, root: Path | None) -> None:
        begin = time.perf_counter()

        def check_targets(targets: list[Path]) -> None:
            for target in targets:
                make_folder = bool(common.folder and root) and len(targets) == 1
                outputs.check(target, source, make_folder)

        damage: list[str] = []
        left_out: list[Path] = []
        packed = read_packed_with(source)  # once: a pipe cannot be read again
        found = looked_at(packed[0]) if salvage else None
        with ProgressBar(source, common.quiet) as bar:

            def note(path: Path, names: Iterable[str]) -> None:
                left_out.append(path)
                print_loss(path, names)

            def work(where: str) -> list[Path]:
                if found and not found.is_whole:
                    paths, damage[:] = salvage_file(
                        packed,
                        found,
                        source,
                        common.output,
                        common.folder,
                        root=root,
                        force=common.force,
                        note=note,
                        claim=check_targets,
                        model=model,
                        device=where,
                        progress=bar,
                    )
                    return paths
                return files.decompress_file(
                    source,
                    common.output,
                    common.folder,
                    root=root,
                    force=common.force,
                    remove=common.remove,
                    only=only,
                    processes=group_processes(common.jobs),
                    note=note,
                    model=model,
                    device=where,
                    progress=bar,
                    claim=check_targets,
                    packed=packed,
                )

            paths = with_memory(work, devices[0], source)
        outputs.add(paths, source, written=True)
        report(source, paths, begin)
        refuse_loss(source, bool(left_out))
        if damage:
            raise DamagedFile(f"{source}: salvaged in part: {in_one_line(damage)}")

    process_each(items, decompress_one, output=common.output, as_json=common.as_json, failed=failed)
