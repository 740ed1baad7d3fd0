"""Many pictures in one file: one stack, one start; images of one size pass the network together.

Names, sizes, modes, permissions and times are kept in an index that `info` reads without decoding.  A name is
a relative path with forward slashes; one that would leave the output folder is refused.
"""
from pathlib import Path, PurePosixPath

from ..efforts import DEFAULT_STEPS
from ..errors import DamagedFile, UnsupportedImage
from ..outputs import Stamp
from . import picture
from .container import Entry
from .images import HOLDS, IMAGE_SUFFIXES, LOSSLESS_SUFFIXES, default_suffix, read_still, still_bytes
from .inputs import opened


def collect(sources) -> list[tuple[Path, str]]:
    """[(path, name)] of the pictures in files and folders; names are relative to each folder given."""
    found = {}
    for source in map(Path, sources):
        paths = [source] if not source.is_dir() else sorted(p for p in source.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        for path in paths:
            name = path.name if path == source else path.relative_to(source).as_posix()
            try:
                name.encode()
            except UnicodeEncodeError:
                raise UnsupportedImage(f"{path!r}: the name is not valid Unicode and could not be kept") from None
            if name in found:
                raise UnsupportedImage(f"{path}: the archive would hold two pictures named {name}")
            found[name] = path
    if not found:
        raise UnsupportedImage(f"{', '.join(map(str, sources))}: no pictures")
    return [(path, name) for name, path in found.items()]


def encode_archive(sources, *, strip=False, allow_lossy=False, verify=False, announce=lambda stills: None,
                   note=lambda path, status: None, tuning=DEFAULT_STEPS, **options) -> tuple[bytes, int]:
    """Pictures of files and folders -> (the archive's bytes, number of pictures).

    strip: leave metadata out; allow_lossy: take JPEG and the like; verify: decode and compare; announce: told the
    pictures before the work; note: told (path, os.stat_result when it was opened) of each; options as picture.encode_still's.
    One unreadable picture fails the whole: nothing is left out in silence.
    """
    loaded = []
    for path, name in collect(sources):
        with opened(path) as (stream, status):
            still = read_still(stream, path, allow_lossy=allow_lossy)
        note(path, status)
        loaded.append((Entry(still.width, still.height, name, status.st_mode & 0o777, picture.image_check(still.samples), still.mode, still.source,
                             int(status.st_mtime)), still.stripped() if strip else still))
    loaded.sort(key=lambda item: (item[0].width * item[0].height, item[0].height, item[0].name))   # the stack grows with them
    stills = [still for _, still in loaded]
    announce(stills)
    data = picture.encode_stills(stills, tuple(entry for entry, _ in loaded), archive=True, tuning=tuning, **options)
    if verify:
        picture.check(data, stills, **options)
    return data, len(loaded)


def target_path(folder, name: str, mode: str = "RGB") -> Path:
    """Where a picture of an archive goes: folder/name, with .png or .tiff behind it unless it names a lossless format for its mode.

    Errors: DamagedFile for a name that would leave the folder.
    """
    pure = PurePosixPath(name)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or "\0" in name:
        raise DamagedFile(f"the name {name!r} would leave the output folder")
    path = Path(folder, *pure.parts)
    file_format = LOSSLESS_SUFFIXES.get(path.suffix.lower(), "WEBP")
    keeps = file_format != "WEBP" and mode in HOLDS[file_format]        # a .webp may have been lossy
    return path if keeps else path.with_name(path.name + default_suffix(mode))


def targets(entries, folder) -> list[Path]:
    """Where the pictures of an archive go below `folder`, one path for each Entry.

    Errors: DamagedFile for names that would leave the folder, be one, or go through a link.
    """
    paths = [target_path(folder, entry.name, entry.mode) for entry in entries]
    if len(set(paths)) != len(paths):
        raise DamagedFile("two pictures of the archive have one name")
    for path in paths:
        for parent in path.relative_to(folder).parents:
            if (Path(folder) / parent).is_symlink():
                raise DamagedFile(f"{path}: would be written through a link")
    return paths


def extract(data: bytes, paths: list[Path], deliver, note, **options) -> None:
    """Hands all pictures of an archive to deliver(bytes, path, outputs.Stamp), their folders being made.

    paths: of `targets`; note(path, names): told metadata that a format cannot hold.  Everything is
    decoded and checked before the first file is written.
    """
    header, stills = picture.decode_stills(data, **options)
    for entry, path, still in zip(header.entries, paths, stills):
        written, left_out = still_bytes(still, LOSSLESS_SUFFIXES[path.suffix.lower()], path)
        path.parent.mkdir(parents=True, exist_ok=True)
        deliver(written, path, Stamp(entry.permissions, entry.mtime * 10**9, entry.mtime * 10**9))
        if left_out:
            note(path, left_out)
