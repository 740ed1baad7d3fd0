"""Damaged files on disk: salvage_file writes what of them can be decoded."""

import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bitsback import outputs
from bitsback.codecs import archive
from bitsback.codecs.bitstream.container import in_group, read_header
from bitsback.codecs.formats.image_files import image_bytes, image_format
from bitsback.codecs.io import delivery
from bitsback.codecs.io.packed import read_packed_with
from bitsback.codecs.io.paths import AnyPath, archive_folder, restored_path
from bitsback.codecs.io.restored import default_bytes
from bitsback.codecs.salvage import Salvaged, salvage
from bitsback.errors import DamagedFile
from bitsback.outputs import STDIO, Stamp

SUFFIX = ".salvaged.png"  # of an image of which not all is there


def is_whole(source: AnyPath) -> bool:
    """Whether all checksums of a file's bytes are right.  Errors: BitsbackError, OSError."""
    try:
        read_header(read_packed_with(source)[0])
    except DamagedFile:
        return False
    return True


def salvage_file(
    source: AnyPath,
    output: AnyPath | None = None,
    folder: AnyPath | None = None,
    *,
    root: AnyPath | None = None,
    force: bool = False,
    claim: Callable[[list[Path]], None] = lambda paths: None,
    note: Callable[[Path, Iterable[str]], None] = lambda path, names: None,
    **options: Any,
) -> tuple[list[Path], list[str]]:
    """Writes what can be decoded of a damaged file, and removes nothing.

    Images of which all is there go where decompress_file would write them, others, with alpha 0 at
    the pixels that are lost, to NAME.salvaged.png, or to `output`.  Returns the paths written and
    what is lost, in words.  claim, note, options: as of files.decompress_file.
    Errors: BitsbackError, OSError; DamagedFile where nothing can be decoded.
    """
    source = Path(source)
    data, status = read_packed_with(source)
    written: list[Path] = []
    lost: list[str] = []
    groups = list(salvage(data, **options))
    for number, (found, damage) in enumerate(groups):
        if damage:
            lost.append(in_group(number, len(groups), DamagedFile(damage)))
        for one in found:
            target, content, left_out = _output(one, source, output, folder, root)
            if one.share < 1 or one.without:
                name = f"{one.entry.name}: " if one.entry.name else ""
                told = [f"{100 * one.share:.1f} % of the pixels"] if one.share < 1 else []
                told += [f"without {one.without}"] if one.without else []
                lost.append(f"{target}: {name}{', '.join(told)}")
            claim([target])
            delivery.refuse(target, [source], force, False)
            target.parent.mkdir(parents=True, exist_ok=True)
            outputs.write(content, target, force=force, like=_stamp(one, status))
            if left_out:
                note(target, left_out)
            written.append(target)
    if not written:
        raise DamagedFile(f"{source}: {'; '.join(lost)}")
    return written, lost


def _stamp(one, status):
    """Permissions and times of an output: those of an archive's index, or of the file."""
    if not one.entry.name:
        return status if status and stat.S_ISREG(status.st_mode) else None
    return Stamp(one.entry.permissions, one.entry.mtime * 10**9, one.entry.mtime * 10**9)


def _output(one: Salvaged, source, output, folder, root):
    """(path, bytes, names of metadata not in them) of one image."""
    entry, partly = one.entry, one.share < 1
    if entry.name:
        below = archive_folder(source, folder, root)
        if not partly:
            target, content, left_out = archive.restored(below, entry.name, one.image)
        else:
            target = archive.target_path(below, entry.name)
            target = target.with_name(target.name + SUFFIX)
            content, left_out = image_bytes(one.image, "PNG", target)
        archive.refuse_links(target, below)
        return target, content, left_out
    asked = output is not None and Path(output) != STDIO  # the user chose the format by a suffix
    if partly or asked:
        target = restored_path(source, output, folder, root, SUFFIX)
        file_format = image_format(target) if asked else "PNG"
        return target, *image_bytes(one.image, file_format, target)
    suffix, content, left_out = default_bytes(one.image, source)
    return restored_path(source, output, folder, root, suffix), content, left_out
