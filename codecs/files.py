"""Paths in, paths out: names, refusal to overwrite, and never half a file under a final name."""
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputExists, UnsupportedImage
from . import container, picture
from .images import image_format, read_image, write_image

SUFFIX = ".bbk"


def compressed_path(source, output=None, folder=None):
    """Where `compress` writes: `output`, else `folder`/stem.bbk, else beside the source."""
    source = Path(source)
    return Path(output) if output else (Path(folder) if folder else source.parent) / (source.stem + SUFFIX)


def restored_path(source, output=None, folder=None):
    """Where `decompress` writes: `output`, else stem.png."""
    source = Path(source)
    stem = source.stem if source.suffix == SUFFIX else source.name
    return Path(output) if output else (Path(folder) if folder else source.parent) / (stem + ".png")


def refuse_existing(path, source, force):
    """Errors: OutputExists, before any work is done; input and output must differ even with force."""
    if path.exists():
        if path.samefile(source):
            raise OutputExists(f"{path}: is the input itself")
        if path.is_dir():
            raise OutputExists(f"{path}: is a folder")
        if not force:
            raise OutputExists(f"{path}: exists already (-f overwrites)")


@contextmanager
def replacing(path):
    """A binary stream to a temporary file beside `path`, renamed to it only if all went well."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)              # mkstemp gives 0600
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def compress_file(source, target, *, force=False, **options):
    """Writes `target`; options as picture.encode's.  Returns the Header and the file's size in bytes."""
    refuse_existing(target, source, force)
    data = picture.encode(read_image(source, source), **options)
    with replacing(target) as stream:
        stream.write(data)
    return container.read_header(data), len(data)


def decompress_file(source, target, *, force=False, **options):
    """Writes the pixels of `source`, in the format that target's suffix names; options as picture.decode's."""
    file_format = image_format(Path(target))
    refuse_existing(target, source, force)
    pixels = picture.decode(Path(source).read_bytes(), **options)
    with replacing(target) as stream:
        try:
            write_image(pixels, stream, file_format)
        except (OSError, ValueError) as error:
            raise UnsupportedImage(f"{target}: cannot hold this picture ({error})") from None
    return pixels.shape


def describe(source):
    """What `info` says of a file, as a dict; rates are in bits a dimension (a sample of a pixel)."""
    data = Path(source).read_bytes()
    header, _ = container.read(data)
    info = {"file": str(source), "format_version": container.VERSION, "width": header.width, "height": header.height,
            "mode": "RGB", "method": "diffusion" if header.method else "plain", "file_bytes": len(data),
            "bits_per_dim": 8 * len(data) / header.dims}
    if header.method:
        coded = 3 * header.width * sum(header.rows[1:])
        net = header.net_bits / coded
        info |= {"model": header.model, "groups": list(header.rows[1:]), "strip_rows": header.rows[0],
                 "strip_bytes": header.credit_bytes, "net_bits_per_dim": net,
                 "overhead_bits_per_dim": info["bits_per_dim"] - net}
    return info
