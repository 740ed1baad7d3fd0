"""Paths of outputs, derived from those of inputs.  "-" is standard input or output."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from bitsback.codecs import archive
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.header import SOURCES
from bitsback.codecs.formats.image_files import default_suffix
from bitsback.codecs.io.interrupted import is_file
from bitsback.codecs.io.packed import SUFFIX, read_packed
from bitsback.codecs.io.restored import DEFAULT_SUFFIXES
from bitsback.errors import BitsbackError, UnsupportedImage
from bitsback.outputs import STDIO

AnyPath = str | Path


def _place(source, folder, root, name):
    """`name` beside the source, or in `folder`, there in the source's sub-folder below `root`."""
    source = Path(source)
    if not folder:
        return source.parent / name
    return Path(folder, source.parent.relative_to(root) if root else "", name)


def compressed_path(
    source: AnyPath,
    output: AnyPath | None = None,
    folder: AnyPath | None = None,
    root: AnyPath | None = None,
) -> Path:
    """The output of `compress`: `output`, else `folder`/stem.bbk, else stem.bbk beside the source.

    root: the folder below which the source was found, if `folder` mirrors it; "-" maps to "-".
    """
    if output or str(source) == "-":
        return Path(output or "-")
    return _place(source, folder, root, Path(source).stem + SUFFIX)


def compressed_paths(
    items: Sequence[tuple[Path, Path | None]],
    folder: AnyPath | None = None,
    remove: bool = False,
) -> list[Path]:
    """A different output of `compress` for each (source, root).

    If sources differ only in their suffix (a.png, a.webp), one gets a.bbk, a .png if possible,
    because a .png is restored; the others keep their suffix: a.webp.bbk.  remove: the run may go on
    where one that removed a.png was interrupted, which had made its a.bbk.
    """
    paths = [compressed_path(source, None, folder, root) for source, root in items]
    suffixes: dict[Path, set[str]] = {}
    for (source, _), path in zip(items, paths):
        suffixes.setdefault(path, set()).add(source.suffix)
    short = {
        path: min(found, key=lambda suffix: (suffix.lower() != ".png", suffix != ".png", suffix))
        for path, found in suffixes.items()
    }
    return [
        path.with_name(source.name + SUFFIX)
        if source.suffix != short[path] or remove and _of_another_kind(path, source)
        else path
        for (source, _), path in zip(items, paths)
    ]


def _of_another_kind(path, source):
    """Whether a .bbk file that is there was made of another kind of image file than `source`, by
    the suffix and by the content."""
    if not (is_file(path) and Path(source).is_file()):  # opening a FIFO would wait
        return False
    try:
        made_of = container.read_header(read_packed(path)).entries[0].source
    except (BitsbackError, OSError):
        return False
    kinds = {Image.registered_extensions().get(source.suffix.lower(), "")}
    with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        with Image.open(source) as image:
            kinds.add(image.format or "")
    return made_of not in {kind if kind in SOURCES else "" for kind in kinds}


def restored_path(
    source: AnyPath,
    output: AnyPath | None = None,
    folder: AnyPath | None = None,
    root: AnyPath | None = None,
    suffix: str = ".png",
) -> Path:
    """The output of `decompress` for one image: `output`, else stem and suffix."""
    if output or str(source) == "-":
        return Path(output or "-")
    source = Path(source)
    name = source.stem if source.suffix.lower() == SUFFIX else source.name
    return _place(source, folder, root, name + suffix)


def archive_folder(
    source: AnyPath, folder: AnyPath | None = None, root: AnyPath | None = None
) -> Path:
    """The folder below which an archive's images are restored."""
    return _place(source, folder, root, "")


def restored_paths(
    header: container.Header,
    source: AnyPath,
    output: AnyPath | None = None,
    folder: AnyPath | None = None,
    root: AnyPath | None = None,
) -> list[Path]:
    """The outputs of `decompress` for a file with this header: restored_path, or for an archive
    the paths of all its images below archive_folder.

    Errors: UnsupportedImage for an archive and one output; DamagedFile for names that leave the
    folder.
    """
    if not header.archive:
        return [restored_path(source, output, folder, root, default_suffix(header.entries[0].mode))]
    if Path(source) == STDIO:
        raise UnsupportedImage(
            f"{source}: is an archive, which is unpacked from a file by its name"
        )
    if output:
        raise UnsupportedImage(f"{source}: is an archive; give --dir, not -o")
    return archive.targets(header.entries, archive_folder(source, folder, root))


def substitute_paths(
    header: container.Header,
    source: AnyPath,
    folder: AnyPath | None = None,
    root: AnyPath | None = None,
) -> list[Path]:
    """Where `decompress` may write instead of restored_paths, if a format cannot hold an image."""
    if header.archive:
        return archive.substitutes(header.entries, archive_folder(source, folder, root))
    return [restored_path(source, None, folder, root, suffix) for suffix in DEFAULT_SUFFIXES]
