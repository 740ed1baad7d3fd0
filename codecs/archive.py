"""Many pictures in one file: one stack, one start; images of one size pass the network together.

Names, sizes and permissions are kept in an index that `info` reads without decoding.  A name is a
relative path with forward slashes; one that would leave the output folder is refused.
"""
from pathlib import Path, PurePosixPath

from ..errors import DamagedFile, OutputExists, UnsupportedImage
from . import container, picture
from .container import Entry
from .images import IMAGE_SUFFIXES, read_image, write_image


def collect(sources):
    """[(path, name)] of the pictures in files and folders; names are relative to each folder given."""
    found = {}
    for source in map(Path, sources):
        paths = [source] if not source.is_dir() else sorted(p for p in source.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
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


def encode_archive(sources, **options):
    """Pictures of files and folders -> (the archive's bytes, number of pictures).

    options as picture.encode's.  One unreadable picture fails the whole: nothing is left out in silence.
    """
    loaded = []
    for path, name in collect(sources):
        pixels = read_image(path, path)
        entry = Entry(pixels.shape[1], pixels.shape[0], name, path.stat().st_mode & 0o777, picture.image_check(pixels))
        loaded.append((entry, pixels))
    loaded.sort(key=lambda item: (item[0].width * item[0].height, item[0].height, item[0].name))   # the stack grows with them
    return picture.encode_images([p for _, p in loaded], tuple(e for e, _ in loaded), archive=True, **options), len(loaded)


def target_path(folder, name):
    """Where a picture of an archive goes: folder/name with suffix .png unless it names a lossless format.

    Errors: DamagedFile for a name that would leave the folder.
    """
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or "\0" in name:
        raise DamagedFile(f"the name {name!r} would leave the output folder")
    path = Path(folder, *pure.parts)
    return path if path.suffix.lower() in (".png", ".bmp", ".ppm", ".tif", ".tiff") else path.with_name(path.name + ".png")


def extract(data, folder, force, replacing, file_format, **options):
    """Writes all pictures of an archive below `folder`; returns their paths.

    Everything is decoded and checked before the first file is written.
    """
    entries = container.read_header(data).entries
    targets = [target_path(folder, entry.name) for entry in entries]
    if len(set(targets)) != len(targets):
        raise DamagedFile("two pictures of the archive have one name")
    for target in targets:
        if target.exists() and not force:
            raise OutputExists(f"{target}: exists already (-f overwrites)")
        for parent in target.relative_to(folder).parents:
            if (Path(folder) / parent).is_symlink():
                raise DamagedFile(f"{target}: would be written through a link")
    _, images = picture.decode_images(data, **options)
    for entry, target, pixels in zip(entries, targets, images):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as stream:
            write_image(pixels, stream, file_format(target))
        target.chmod(entry.mode & 0o777)
    return targets
