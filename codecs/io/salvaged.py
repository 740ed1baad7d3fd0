"""Damaged files on disk: salvage_file writes what of them can be decoded."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bitsback import outputs
from bitsback.codecs import archive
from bitsback.codecs.bitstream.chosen import among, in_one_line, salvaged_names
from bitsback.codecs.bitstream.container import in_group
from bitsback.codecs.damage import Found
from bitsback.codecs.formats.image_files import image_bytes, image_format
from bitsback.codecs.io import delivery
from bitsback.codecs.io.packed import Packed
from bitsback.codecs.io.paths import AnyPath, archive_folder, restored_path
from bitsback.codecs.io.restored import default_bytes
from bitsback.codecs.salvage import ALL_PIXELS, Salvaged, salvage
from bitsback.errors import BitsbackError, DamagedFile, UnsupportedImage
from bitsback.inputs import file_key
from bitsback.outputs import STDIO, Stamp, is_stream

SUFFIX = ".salvaged.png"  # of an image of which not all is there


def salvage_file(
    packed: Packed,
    found: Found,
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

    packed: what was read of `source`, once, since it may be a pipe; found: damage.looked_at of it.
    Images of which all is there go where decompress_file would write them, others, with alpha 0 at
    the pixels that are lost, to NAME.salvaged.png, or to `output`.  Of an archive, an image that
    cannot be written does not keep the others from it.  Returns the paths written and what is lost,
    in words.  claim, note, options: as of files.decompress_file.  Errors: BitsbackError, OSError;
    DamagedFile where nothing can be decoded.
    """
    source = Path(source)
    data, status = packed
    written: dict[Path, None] = {}  # in this order
    keys: set[tuple[int, int] | None] = set()  # two names may be one file
    groups, lost = found.groups, list(found.places)
    parts = list(salvage(data, found, **options))
    if (output or source == STDIO) and any(one.entry.name for some, _ in parts for one in some):
        raise UnsupportedImage(f"{source}: is an archive; give --dir, not -o")
    for number, (images, damage) in enumerate(parts):
        if damage:
            told = in_group(number, len(groups), DamagedFile(damage))
            names = salvaged_names(groups[number].of(data), groups[number])
            there = {one.entry.name for one in images}
            lost.append(told + among([name for name in names if name not in there]))
        for one in images:
            try:
                target, content, left_out = _output(one, source, output, folder, root)
                if target in written or (key := file_key(target)) and key in keys:
                    raise DamagedFile(f"{target}: two images of the archive have one name")
                claim([target])
                archived = bool(one.entry.name)  # whose names are not trusted
                if archived and not os.path.lexists(target):  # its folder need not exist yet
                    outputs.make_folder_of(target)
                delivery.refuse(target, [] if source == STDIO else [source], force, False, archived)
                index = Stamp.at(one.entry.permissions, one.entry.mtime)
                like = index if archived else delivery.stamp_of(status)
                outputs.write(content, target, force=force, like=like, regular=archived)
            except BitsbackError as error:
                if not one.entry.name:
                    raise
                lost.append(str(error))  # the other images may be written
                continue
            if one.share < 1 or one.without:
                name = f"{one.entry.name}: " if one.entry.name else ""
                percent = f"{min(99.9, 100 * one.share):.1f} % of the pixels"
                shares = [percent] if one.share < ALL_PIXELS else []
                shares += [f"without {one.without}"] if one.without else []
                lost.append(f"{target}: {name}{', '.join(shares)}")
            if left_out:
                note(target, left_out)
            written[target] = None
            keys.add(file_key(target))
    if not written:
        raise DamagedFile(f"{source}: {in_one_line(lost)}")
    return list(written), lost


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
    asked = output is not None and not is_stream(output)  # the user chose the format by a suffix
    if partly or asked:
        target = restored_path(source, output, folder, root, SUFFIX)
        file_format = image_format(target, one.image.mode) if asked else "PNG"
        return target, *image_bytes(one.image, file_format, target)
    suffix, content, left_out = default_bytes(one.image, source)
    return restored_path(source, output, folder, root, suffix), content, left_out
