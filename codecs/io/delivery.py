"""Delivering outputs: refused early, written, read back and compared; then inputs are removed."""

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from bitsback import outputs
from bitsback.codecs.image import ImageData
from bitsback.errors import InputChanged, MetadataLoss, UnsupportedImage, VerifyFailed
from bitsback.inputs import identity


def refuse(
    target: Path, sources: Sequence[Path], force: bool, remove: bool, regular: bool = False
) -> None:
    """Raises before any work the errors of writing `target` and, if `remove`, of removing sources.

    regular: as of outputs.refuse.  Errors: OutputExists, NoSuchFolder, OutputFailed,
    UnsupportedImage, OSError.
    """
    outputs.refuse(target, sources, force, regular)
    if remove and not outputs.is_file(target):
        raise UnsupportedImage(
            f"{target}: cannot be read back; inputs are removed only after that comparison"
        )
    for source in sources if remove else ():
        refuse_removal(source)


def refuse_removal(source: Path) -> None:
    """Errors: UnsupportedImage for an input to be removed that is not a regular file; OSError."""
    if not stat.S_ISREG(os.stat(source).st_mode):
        raise UnsupportedImage(
            f"{source}: is not a regular file, which --rm could remove; leave --rm out"
        )


def refuse_loss(image: ImageData, source: Path, allowed: bool) -> None:
    """Errors: MetadataLoss for an input to be removed with metadata that its output lacks."""
    if image.lost and not allowed:
        raise MetadataLoss(
            f"{source}: {', '.join(image.lost)} would be lost with it, so nothing is done "
            f"(--allow-metadata-loss removes it all the same, --strip drops all metadata)"
        )


def deliver(data: bytes, target: Path, force: bool, status: os.stat_result | None = None) -> None:
    """Writes an output with the permissions and times of the input, if that is a regular file."""
    outputs.write(data, target, force=force, like=stamp_of(status))


def stamp_of(status: os.stat_result | None) -> os.stat_result | None:
    """The status of an input whose permissions and times its output gets: of a regular file."""
    return status if status and stat.S_ISREG(status.st_mode) else None


def compare(data: bytes, target: Path) -> None:
    """Errors: VerifyFailed if `target` does not contain `data`."""
    if Path(target).read_bytes() != data:
        raise VerifyFailed(f"{target}: differs from what was written; the input is kept")


def remove_read(read: Iterable[tuple[Path, os.stat_result]]) -> None:
    """Removes inputs, [(path, status when it was opened)], except those that changed since.

    Links go first: they may lead to others.  Errors: InputChanged, also for one that cannot be
    removed; the first of several, after all inputs were tried.
    """
    failed = None
    for source, status in sorted(read, key=lambda one: not one[0].is_symlink()):
        try:
            if identity(os.stat(source)) != identity(status):
                raise InputChanged(
                    f"{source}: was changed or replaced meanwhile; the output contains what "
                    "was read, the input is kept"
                )
            os.unlink(source)
        except OSError as error:
            told = f"{source}: {error.strerror}; the output contains it, the input is not removed"
            failed = failed or InputChanged(told)
        except InputChanged as error:
            failed = failed or error
    if failed:
        raise failed
